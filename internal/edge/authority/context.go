package authority

import (
	"strconv"
	"strings"
	"time"

	"berth.dev/berth/internal/rules/access"
)

const keyVia = "aws:viaawsservice"

// globalKeys are the condition keys that every request has: those of the
// principal, of the network and of the request itself. Names are in lower case,
// as rules/policy compares them.
func (q *question) globalKeys() map[string][]string {
	who, now := q.who, q.now().UTC()
	keys := make(map[string][]string, 24)
	// One array for all the values that stand alone.
	values := make([]string, 0, 24)
	set := func(name, value string) {
		values = append(values, value)
		keys[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set("aws:currenttime", now.Format(time.RFC3339))
	set("aws:epochtime", strconv.FormatInt(now.Unix(), 10))
	set("aws:securetransport", strconv.FormatBool(who.Secure))
	set("aws:principalarn", q.principalARN())
	set("aws:principalaccount", who.AccountID)
	set("aws:principaltype", q.principalType())
	set("aws:principalisawsservice", "false")
	set(keyVia, "false")
	q.direct = keys[keyVia]
	set("aws:userid", who.UserID)
	region := who.Region
	if region == "" {
		region = q.scope.Region
	}
	set("aws:requestedregion", region)
	if who.UserAgent != "" {
		set("aws:useragent", who.UserAgent)
	}
	if who.UserName != "" && !who.Federated() {
		set("aws:username", who.UserName)
	}
	switch {
	case who.SourceVPC != "":
		// From within a VPC a request has an address of the VPC's, and no public
		// one, as behind an interface endpoint.
		set("aws:sourcevpc", who.SourceVPC)
		set("aws:vpcsourceip", who.SourceIP)
	case who.SourceIP != "":
		set("aws:sourceip", who.SourceIP)
	}
	q.sessionKeys(set, keys)
	return keys
}

// sessionKeys are those of temporary credentials, and the principal's tags: a
// session's own go before its role's.
func (q *question) sessionKeys(set func(name, value string), keys map[string][]string) {
	for _, tag := range q.principal.tags {
		keys["aws:principaltag/"+strings.ToLower(tag.Key)] = []string{tag.Value}
	}
	s := q.who.Session
	if s == nil {
		return
	}
	set("aws:tokenissuetime", s.IssuedAt.UTC().Format(time.RFC3339))
	set("aws:multifactorauthpresent", "false")
	if s.FederatedProvider != "" {
		set("aws:federatedprovider", s.FederatedProvider)
		if _, issuer, ok := strings.Cut(strings.ToLower(s.FederatedProvider), ":oidc-provider/"); ok {
			set(issuer+":sub", s.Subject)
			set(issuer+":aud", s.Audience)
		}
	}
	if s.SourceIdentity != "" {
		set("aws:sourceidentity", s.SourceIdentity)
	}
	for name, value := range s.Tags {
		keys["aws:principaltag/"+strings.ToLower(name)] = []string{value}
	}
}

// principalARN is the role's for its sessions.
func (q *question) principalARN() string {
	if s := q.who.Session; s != nil && s.RoleARN != "" {
		return s.RoleARN
	}
	return q.who.ARN
}

func (q *question) principalType() string {
	switch {
	case q.who.Session != nil && q.who.Session.RoleARN != "":
		return "AssumedRole"
	case isRoot(q.who):
		return "Account"
	case q.who.Federated():
		return "FederatedUser"
	}
	return "User"
}

// own adds the keys of one check, whose resource an account owns, to those of
// the request, and returns the names that forget takes away again.
func (q *question) own(c *access.Check, owner string) []string {
	names := make([]string, 0, 4+len(c.Keys)+2*len(c.Tags))
	set := func(name string, values []string) {
		if _, ok := q.request.Context[name]; !ok {
			names = append(names, name)
			q.request.Context[name] = values
		}
	}
	service, _, _ := strings.Cut(c.Action, ":")
	for _, tag := range c.Tags {
		key, value := "resourcetag/"+strings.ToLower(tag.Key), []string{tag.Value}
		set("aws:"+key, value)
		set(service+":"+key, value)
	}
	for _, k := range c.Keys {
		set(k.Name, k.Values)
		if k.Name == "kms:viaservice" && len(k.Values) > 0 {
			q.via(k.Values[0], set)
		}
	}
	switch service {
	case "kms":
		set("kms:calleraccount", []string{q.who.AccountID})
	case "ec2":
		set("ec2:region", []string{q.scope.Region})
	}
	if owner != "" {
		set("aws:resourceaccount", []string{owner})
	}
	return names
}

// via marks a check as made by a service in the caller's name, such as
// "secretsmanager.us-east-1.amazonaws.com" that uses a key.
func (q *question) via(service string, set func(string, []string)) {
	name, _, _ := strings.Cut(service, ".")
	q.request.Context[keyVia] = []string{"true"}
	called := []string{name + ".amazonaws.com"}
	set("aws:calledvia", called)
	set("aws:calledviafirst", called)
	set("aws:calledvialast", called)
}

// forget takes the keys of one check away.
func (q *question) forget(names []string) {
	for _, name := range names {
		delete(q.request.Context, name)
	}
	q.request.Context[keyVia] = q.direct
}
