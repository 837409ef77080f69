package model

import "time"

// Secret is a secret of Secrets Manager without its values
// (behaviour/secrets-logs.md §2). The provider writes it; control/rotation
// writes what is said so below; control/expiry removes it when its recovery
// window is over.
type Secret struct {
	Name        string     `json:"name"`
	ARN         string     `json:"arn"` // ends in a dash and six random characters
	Description string     `json:"description,omitempty"`
	KMSKeyID    string     `json:"kmsKeyId,omitempty"` // as the user named it; empty: alias/aws/secretsmanager
	Type        string     `json:"type,omitempty"`
	CreatedAt   time.Time  `json:"createdAt"`
	ChangedAt   time.Time  `json:"lastChangedDate"`
	AccessedOn  *time.Time `json:"lastAccessedDate,omitempty"` // a day, as on AWS
	DeletedAt   *time.Time `json:"deletedDate,omitempty"`      // when the deletion was asked for
	PurgeAt     *time.Time `json:"purgeDate,omitempty"`        // when the recovery window ends
	Policy      string     `json:"resourcePolicy,omitempty"`
	Tags        []Tag      `json:"tags,omitempty"`

	// Stages says which version has a label.
	Stages SecretStages `json:"stages,omitempty"`

	// Rotation is set while rotation is enabled, and remembered after.
	Rotation *SecretRotation `json:"rotation,omitempty"`
}

// Key identifies the secret in the store. Secrets of a name are unique, those
// that wait for deletion included.
func (s *Secret) Key() string { return s.Name }

// SecretRotation says how a secret gets its new values: by a task that is run
// (Berth's own option; AWS runs a Lambda function).
type SecretRotation struct {
	Enabled bool `json:"enabled"`
	// TaskDefinitionARN is what runs. It finds the secret and the version to
	// make in SECRET_ARN and SECRET_VERSION_ID, stores the new value under
	// AWSPENDING, and ends with 0.
	TaskDefinitionARN string `json:"taskDefinitionArn"`
	AfterDays         int64  `json:"automaticallyAfterDays,omitempty"`
	Schedule          string `json:"scheduleExpression,omitempty"`
	Duration          string `json:"duration,omitempty"`

	// The provider writes NextAt and VersionID when the user asks, and
	// control/rotation whenever it has decided; it alone writes the rest.
	NextAt    *time.Time `json:"nextRotationDate,omitempty"` // when the next window opens
	LastAt    *time.Time `json:"lastRotatedDate,omitempty"`
	VersionID string     `json:"versionId,omitempty"` // of the rotation in progress
	TaskID    string     `json:"taskId,omitempty"`    // that does it
	Failure   string     `json:"failure,omitempty"`   // of the last attempt
	Failures  int        `json:"failures,omitempty"`  // in a row
	RetryAt   *time.Time `json:"retryAt,omitempty"`   // not before; nil: at once
}

// SecretVersion is one value of a secret. Value and Binary tell which of
// SecretString and SecretBinary it was; both are sealed by data/keys with the
// secret's ARN in the encryption context.
type SecretVersion struct {
	SecretName string     `json:"secretName"`
	ID         string     `json:"versionId"`
	Sealed     []byte     `json:"sealed"`
	Binary     bool       `json:"binary,omitempty"`
	KMSKeyID   string     `json:"kmsKeyId"` // the id of the key that sealed it
	CreatedAt  time.Time  `json:"createdAt"`
	AccessedOn *time.Time `json:"lastAccessedDate,omitempty"`
}

// Key identifies the version in the store, next to its siblings.
func (v *SecretVersion) Key() string { return v.SecretName + "|" + v.ID }
