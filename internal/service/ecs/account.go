package ecs

import (
	"context"
	"maps"
	"slices"
	"strings"

	"berth.dev/berth/internal/data/records"
	"berth.dev/berth/internal/data/store"
	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ecsapi"
)

const settingContainerInsights = "containerInsights"

// accountSetting is one of the settings that ECS has.
type accountSetting struct {
	fallback string   // what is effective when nobody has set it
	values   []string // what it can be set to; nil: AWS alone sets it
	// refused are values that have an effect on AWS and cannot have it here.
	refused map[string]string
}

// accountSettings is the table of all settings. Their order in answers is that
// of their names.
var accountSettings = map[string]accountSetting{
	"serviceLongArnFormat":           {fallback: "enabled", values: []string{"enabled", "disabled"}, refused: longARN("service")},
	"taskLongArnFormat":              {fallback: "enabled", values: []string{"enabled", "disabled"}, refused: longARN("task")},
	"containerInstanceLongArnFormat": {fallback: "enabled", values: []string{"enabled", "disabled"}, refused: longARN("container instance")},
	// No instance has a limit on its network interfaces here, so this has
	// nothing to raise.
	"awsvpcTrunking":         {fallback: "disabled", values: []string{"enabled", "disabled"}},
	settingContainerInsights: {fallback: "disabled", values: []string{"enabled", "disabled", "enhanced"}},
	"fargateFIPSMode": {fallback: "disabled", values: []string{"enabled", "disabled"}, refused: map[string]string{
		"enabled": "fargateFIPSMode enabled is not supported: Berth uses the host's kernel, whose mode it does not control.",
	}},
	"tagResourceAuthorization":        {fallback: "on", values: []string{"on", "off"}},
	"fargateTaskRetirementWaitPeriod": {fallback: "7", values: []string{"0", "7", "14"}},
	"guardDutyActivate":               {fallback: "off"},
	"defaultLogDriverMode": {fallback: "non-blocking", values: []string{"blocking", "non-blocking"}, refused: map[string]string{
		"blocking": "defaultLogDriverMode blocking is not supported yet: set the option mode in the task definition's logConfiguration.",
	}},
	"fargateEventWindows": {fallback: "disabled", values: []string{"enabled", "disabled"}},
}

func longARN(kind string) map[string]string {
	return map[string]string{"disabled": "You can no longer disable the long ARN format for " + kind + " resources."}
}

// settingNames is the order in which AWS's error lists them.
var settingNames = []string{
	"serviceLongArnFormat", "taskLongArnFormat", "containerInstanceLongArnFormat", "awsvpcTrunking", settingContainerInsights,
	"fargateFIPSMode", "tagResourceAuthorization", "fargateTaskRetirementWaitPeriod", "guardDutyActivate",
	"defaultLogDriverMode", "fargateEventWindows",
}

func checkSettingName(name string) error {
	if _, known := accountSettings[name]; !known {
		return parameterError("%s should be one of [%s]", name, strings.Join(settingNames, ","))
	}
	return nil
}

func checkSetting(name, v string) error {
	if err := checkSettingName(name); err != nil {
		return err
	}
	setting := accountSettings[name]
	if setting.values == nil {
		return parameterError("The setting %s is managed by AWS and cannot be changed.", name)
	}
	if !slices.Contains(setting.values, v) {
		return parameterError("Invalid value '%s' for %s. Valid values: %s.", v, name, strings.Join(setting.values, ", "))
	}
	if reason, refused := setting.refused[v]; refused {
		return parameterError("%s", reason)
	}
	return nil
}

// effectiveSetting is the principal's own value, else the account's, which is
// root's, else AWS's.
func (p *Provider) effectiveSetting(r store.Reader, principal, name string) string {
	for _, who := range []string{principal, p.scope.Root()} {
		if s, found := records.AccountSettings.Get(r, (&model.AccountSetting{Name: name, PrincipalARN: who}).Key()); found {
			return s.Value
		}
	}
	return accountSettings[name].fallback
}

// PutAccountSetting implements ecsapi.Service.
func (p *Provider) PutAccountSetting(ctx context.Context, in *ecsapi.PutAccountSettingInput) (*ecsapi.PutAccountSettingOutput, error) {
	who := value(in.PrincipalArn)
	if who == "" {
		who = p.principal(ctx)
	}
	setting, err := p.putSetting(ctx, who, string(in.Name), value(in.Value))
	if err != nil {
		return nil, err
	}
	return &ecsapi.PutAccountSettingOutput{Setting: setting}, nil
}

// PutAccountSettingDefault implements ecsapi.Service.
func (p *Provider) PutAccountSettingDefault(ctx context.Context, in *ecsapi.PutAccountSettingDefaultInput) (*ecsapi.PutAccountSettingDefaultOutput, error) {
	setting, err := p.putSetting(ctx, p.scope.Root(), string(in.Name), value(in.Value))
	if err != nil {
		return nil, err
	}
	return &ecsapi.PutAccountSettingDefaultOutput{Setting: setting}, nil
}

func (p *Provider) putSetting(ctx context.Context, who, name, v string) (*ecsapi.Setting, error) {
	if err := checkSetting(name, v); err != nil {
		return nil, err
	}
	setting := &model.AccountSetting{Name: name, Value: v, PrincipalARN: who}
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		records.AccountSettings.Put(tx, setting)
		return nil
	}); err != nil {
		return nil, err
	}
	return new(settingOut(who, name, v)), nil
}

// DeleteAccountSetting implements ecsapi.Service. Deleting what was not set
// succeeds. The answer has the value that is effective from now on.
func (p *Provider) DeleteAccountSetting(ctx context.Context, in *ecsapi.DeleteAccountSettingInput) (*ecsapi.DeleteAccountSettingOutput, error) {
	name := string(in.Name)
	if err := checkSettingName(name); err != nil {
		return nil, err
	}
	who := value(in.PrincipalArn)
	if who == "" {
		who = p.principal(ctx)
	}
	if _, err := p.store.Update(ctx, func(tx *store.Tx) error {
		records.AccountSettings.Delete(tx, (&model.AccountSetting{Name: name, PrincipalARN: who}).Key())
		return nil
	}); err != nil {
		return nil, err
	}
	return &ecsapi.DeleteAccountSettingOutput{Setting: new(settingOut(who, name, p.effectiveSetting(p.store.Snapshot(), who, name)))}, nil
}

// ListAccountSettings implements ecsapi.Service.
func (p *Provider) ListAccountSettings(ctx context.Context, in *ecsapi.ListAccountSettingsInput) (*ecsapi.ListAccountSettingsOutput, error) {
	limit, err := pageSize(in.MaxResults, 10, 10)
	if err != nil {
		return nil, err
	}
	name := string(in.Name)
	if name == "" && value(in.Value) != "" {
		return nil, parameterError("A setting name is required when a value is specified.")
	}
	names := slices.Sorted(maps.Keys(accountSettings))
	if name != "" {
		if err := checkSettingName(name); err != nil {
			return nil, err
		}
		names = []string{name}
	}
	who := value(in.PrincipalArn)
	if who == "" {
		who = p.principal(ctx)
	}
	snap := p.store.Snapshot()
	settings := []ecsapi.Setting{}
	for _, name := range names {
		v := ""
		if value(in.EffectiveSettings) {
			v = p.effectiveSetting(snap, who, name)
		} else if s, found := records.AccountSettings.Get(snap, (&model.AccountSetting{Name: name, PrincipalARN: who}).Key()); found {
			v = s.Value
		}
		if v == "" || value(in.Value) != "" && v != *in.Value {
			continue
		}
		settings = append(settings, settingOut(who, name, v))
	}
	page, next, err := pageOf("ListAccountSettings", settings, func(s ecsapi.Setting) string { return string(s.Name) }, in.NextToken, limit, ascending)
	if err != nil {
		return nil, err
	}
	return &ecsapi.ListAccountSettingsOutput{Settings: page, NextToken: next}, nil
}

func settingOut(who, name, v string) ecsapi.Setting {
	kind := "user"
	if accountSettings[name].values == nil {
		kind = "aws_managed"
	}
	return ecsapi.Setting{Name: ecsapi.SettingName(name), Value: &v, PrincipalArn: &who, Type: ecsapi.SettingType(kind)}
}
