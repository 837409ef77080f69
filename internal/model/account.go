package model

import "time"

// AccountSetting is an ECS account setting of one principal; the root
// principal's value is the account's default.
type AccountSetting struct {
	Name         string `json:"name"`
	Value        string `json:"value"`
	PrincipalARN string `json:"principalArn"`
}

// Key identifies the setting in the store.
func (s *AccountSetting) Key() string { return s.PrincipalARN + "|" + s.Name }

// RunTaskToken remembers the outcome of a RunTask call by its client token,
// so that a repeated call starts nothing (behaviour/api-conventions.md §10).
type RunTaskToken struct {
	ClusterName string        `json:"clusterName"`
	Token       string        `json:"token"`
	RequestHash string        `json:"requestHash"`
	TaskIDs     []string      `json:"taskIds,omitempty"`
	Failures    []TaskFailure `json:"failures,omitempty"`
	CreatedAt   time.Time     `json:"createdAt"`
}

// Key identifies the token in the store.
func (r *RunTaskToken) Key() string { return r.ClusterName + "|" + r.Token }

// TaskFailure says why RunTask could not place a task.
type TaskFailure struct {
	ARN    string `json:"arn,omitempty"`
	Reason string `json:"reason"`
	Detail string `json:"detail,omitempty"`
}
