package model

// Tag is a label that a user puts on a resource.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}
