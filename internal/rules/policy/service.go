package policy

// TrustsService reports whether a role's trust policy lets a service of AWS,
// such as ecs.amazonaws.com, assume the role for a resource of its account.
// The condition keys are those that AWS documents against the confused deputy.
func TrustsService(trust, role, account, service, sourceARN string) bool {
	document, err := Parse(Trust, trust)
	if err != nil {
		return false // it was checked when it was stored; a role without trust trusts nobody
	}
	return Evaluate(Request{
		Principal: Principal{Service: service, AccountID: account},
		Action:    "sts:AssumeRole",
		Resource:  role,
		Context: map[string][]string{
			"aws:sourceaccount":         {account},
			"aws:sourcearn":             {sourceARN},
			"aws:principalisawsservice": {"true"},
			"aws:principalservicename":  {service},
		},
	}, Policies{
		Resource: &Source{Document: document}, ResourceDecides: true, ResourceAccountID: account,
	}).Outcome == Allowed
}
