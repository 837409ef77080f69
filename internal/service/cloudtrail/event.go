package cloudtrail

import (
	"encoding/json"
	"strings"
	"time"

	"berth.dev/berth/internal/data/logstore"
	"berth.dev/berth/internal/wire/api/cloudtrailapi"
)

// event is what is looked at in a record.
type event struct {
	UserIdentity struct {
		Type        string `json:"type"`
		PrincipalID string `json:"principalId"`
		AccessKeyID string `json:"accessKeyId"`
		UserName    string `json:"userName"`
	} `json:"userIdentity"`
	EventTime         time.Time       `json:"eventTime"`
	EventSource       string          `json:"eventSource"`
	EventName         string          `json:"eventName"`
	EventID           string          `json:"eventID"`
	ReadOnly          bool            `json:"readOnly"`
	RequestParameters json.RawMessage `json:"requestParameters"`
	ResponseElements  json.RawMessage `json:"responseElements"`
}

// username is whom CloudTrail names: a user, "root", or a role's session.
func (e *event) username() string {
	switch e.UserIdentity.Type {
	case "Root":
		return "root"
	case "AssumedRole":
		_, session, _ := strings.Cut(e.UserIdentity.PrincipalID, ":")
		return session
	}
	return e.UserIdentity.UserName
}

func (e *event) readOnly() string {
	if e.ReadOnly {
		return "true"
	}
	return "false"
}

// filter is a lookup attribute; the zero value lets everything pass.
type filter struct {
	key   cloudtrailapi.LookupAttributeKey
	value string
	// hint is in every record that can match, so that most of the others need
	// not be decoded; empty when there is no such text.
	hint string
}

func newFilter(a cloudtrailapi.LookupAttribute) filter {
	f := filter{key: a.AttributeKey, value: *a.AttributeValue}
	quoted, err := json.Marshal(f.value)
	plain := err == nil && string(quoted) == `"`+f.value+`"` // is written in one way only
	switch f.key {
	case cloudtrailapi.LookupAttributeKeyReadOnly:
		f.value = strings.ToLower(f.value)
		f.hint = `"readOnly":` + f.value
	case cloudtrailapi.LookupAttributeKeyResourceType:
	case cloudtrailapi.LookupAttributeKeyUsername:
		if plain && f.value != "root" {
			f.hint = f.value
		}
	default:
		if plain {
			f.hint = string(quoted)
		}
	}
	return f
}

// match decodes a record if it matches.
func (f *filter) match(r logstore.Record) (cloudtrailapi.Event, bool) {
	if f.hint != "" && !strings.Contains(r.Message, f.hint) {
		return cloudtrailapi.Event{}, false
	}
	var e event
	if err := json.Unmarshal([]byte(r.Message), &e); err != nil || e.EventID == "" {
		return cloudtrailapi.Event{}, false // somebody else wrote into the group
	}
	resources := e.resources()
	if !f.matches(&e, resources) {
		return cloudtrailapi.Event{}, false
	}
	out := cloudtrailapi.Event{
		EventId: &e.EventID, EventName: &e.EventName, ReadOnly: new(e.readOnly()), EventTime: &e.EventTime, EventSource: &e.EventSource,
		Resources: resources, CloudTrailEvent: &r.Message,
	}
	if e.UserIdentity.AccessKeyID != "" {
		out.AccessKeyId = &e.UserIdentity.AccessKeyID
	}
	if name := e.username(); name != "" {
		out.Username = &name
	}
	return out, true
}

func (f *filter) matches(e *event, resources []cloudtrailapi.Resource) bool {
	switch f.key {
	case "":
		return true
	case cloudtrailapi.LookupAttributeKeyEventId:
		return e.EventID == f.value
	case cloudtrailapi.LookupAttributeKeyEventName:
		return e.EventName == f.value
	case cloudtrailapi.LookupAttributeKeyEventSource:
		return e.EventSource == f.value
	case cloudtrailapi.LookupAttributeKeyReadOnly:
		return e.readOnly() == f.value
	case cloudtrailapi.LookupAttributeKeyUsername:
		return e.username() == f.value
	case cloudtrailapi.LookupAttributeKeyAccessKeyId:
		return e.UserIdentity.AccessKeyID == f.value
	}
	for _, r := range resources {
		if f.key == cloudtrailapi.LookupAttributeKeyResourceType && *r.ResourceType == f.value || f.key == cloudtrailapi.LookupAttributeKeyResourceName && *r.ResourceName == f.value {
			return true
		}
	}
	return false
}
