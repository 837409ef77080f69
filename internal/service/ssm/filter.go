package ssm

import (
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/model"
	"berth.dev/berth/internal/wire/api/ssmapi"
)

// filter is one condition on parameters; several must all hold.
type filter struct {
	key    string // Name, Type, …, or tag:<key>
	option string
	values []string
}

// purpose is the operation that filters are for: each has its own keys.
type purpose struct {
	keys []string
	tags bool
	says string // the keys that refusals list
}

var (
	describing = purpose{[]string{"Path", "Name", "Type", "KeyId", "Tier", "DataType"}, true, "[Path, Name, Type, KeyId, Tier]"}
	byPath     = purpose{[]string{"Type", "KeyId", "Label"}, false, "[Type, KeyId]"}
)

func invalidValue(format string, args ...any) error {
	return &ssmapi.InvalidFilterValue{Message: new(fmt.Sprintf(format, args...))}
}

// parseFilters checks the filters of a request.
func parseFilters(in []ssmapi.ParameterStringFilter, of purpose) ([]filter, error) {
	var filters []filter
	for _, f := range in {
		got := filter{key: *f.Key, option: value(f.Option), values: f.Values}
		tag := strings.HasPrefix(got.key, "tag:")
		if !slices.Contains(of.keys, got.key) && !(tag && of.tags) {
			return nil, &ssmapi.InvalidFilterKey{Message: new(fmt.Sprintf("The following filter key is not valid: %s. Valid filter keys include: %s.", got.key, of.says))}
		}
		if len(got.values) == 0 && !tag {
			return nil, invalidValue("The following filter values are missing : null for filter key %s.", got.key)
		}
		if slices.ContainsFunc(filters, func(other filter) bool { return other.key == got.key }) {
			return nil, &ssmapi.InvalidFilterKey{Message: new(fmt.Sprintf("The following filter is duplicated in the request: %s. A request can contain only one occurrence of a specific filter.", got.key))}
		}
		if err := got.checkOption(); err != nil {
			return nil, err
		}
		if err := got.checkValues(); err != nil {
			return nil, err
		}
		filters = append(filters, got)
	}
	return filters, nil
}

// checkOption checks how values are compared, and sets how unless it is said.
func (f *filter) checkOption() error {
	options, says := []string{"Equals", "BeginsWith"}, "[BeginsWith, Equals]"
	switch f.key {
	case "Path":
		options, says = []string{"OneLevel", "Recursive"}, "[Recursive, OneLevel]"
	case "Name":
		options, says = append(options, "Contains"), "[BeginsWith, Equals, Contains]"
	case "Label":
		options, says = options[:1], "[Equals]"
	}
	if f.option == "" {
		f.option = options[0]
	}
	if !slices.Contains(options, f.option) {
		return &ssmapi.InvalidFilterOption{Message: new(fmt.Sprintf("The following filter option is not valid: %s. Valid options include: %s.", f.option, says))}
	}
	return nil
}

// checkValues checks values of which there are only so many.
func (f *filter) checkValues() error {
	known := map[string][]string{
		"Tier": {"Standard", "Advanced", "Intelligent-Tiering"},
		"Type": {"String", "StringList", "SecureString"},
	}[f.key]
	for _, v := range f.values {
		switch {
		case known != nil && f.option == "Equals" && !slices.Contains(known, v):
			return &ssmapi.InvalidFilterOption{Message: new(fmt.Sprintf("The following filter value is not valid: %s. Valid values include: [%s].", v, strings.Join(known, ", ")))}
		case f.key == "Path" && reserved(v) && strings.HasPrefix(v, "/"):
			return invalid(`Filters for common parameters can't be prefixed with "aws" or "ssm" (case-insensitive). When using global parameters, please specify within a global namespace.`)
		case f.key == "Path" && !path.MatchString(v):
			return invalid(pathFilterRule)
		case v == "":
			return invalidValue("The filter value isn't valid. Verify the value and try again.")
		}
	}
	return nil
}

// matches reports whether a parameter satisfies all filters.
func matches(p *model.Parameter, v *model.ParameterVersion, filters []filter) bool {
	return !slices.ContainsFunc(filters, func(f filter) bool { return !f.matches(p, v) })
}

func (f filter) matches(p *model.Parameter, v *model.ParameterVersion) bool {
	switch f.key {
	case "Label": // choose has seen to it
		return true
	case "Path":
		return slices.ContainsFunc(f.values, func(at string) bool {
			return under(p.Name, strings.TrimSuffix(at, "/")+"/", f.option == "Recursive")
		})
	case "Name": // with and without its first slash
		return f.compare(p.Name) || f.option != "Contains" && f.compare(strings.TrimPrefix(p.Name, "/")) || f.compare("/"+strings.TrimPrefix(p.Name, "/"))
	case "Type":
		return f.compare(v.Type)
	case "KeyId":
		return v.KMSKeyID != "" && f.compare(v.KMSKeyID)
	case "Tier":
		return f.compare(v.Tier)
	case "DataType":
		return f.compare(v.DataType)
	}
	key := strings.TrimPrefix(f.key, "tag:")
	return slices.ContainsFunc(p.Tags, func(t model.Tag) bool { return t.Key == key && (len(f.values) == 0 || f.compare(t.Value)) })
}

// compare reports whether a text is like one of the filter's values.
func (f filter) compare(text string) bool {
	return slices.ContainsFunc(f.values, func(v string) bool {
		switch f.option {
		case "BeginsWith":
			return strings.HasPrefix(text, v)
		case "Contains":
			return strings.Contains(text, v)
		}
		return text == v
	})
}

// under reports whether a name is below a path that ends in a slash: next
// below it, or anywhere.
func under(name, below string, anywhere bool) bool {
	rest, ok := strings.CutPrefix("/"+strings.TrimPrefix(name, "/"), below)
	return ok && (anywhere || !strings.Contains(rest, "/"))
}
