package model

import "time"

// States of a KMS key.
const (
	KMSKeyEnabled         = "Enabled"
	KMSKeyDisabled        = "Disabled"
	KMSKeyPendingDeletion = "PendingDeletion"
)

// What KMS keys are for, and who manages them.
const (
	KMSEncryptDecrypt    = "ENCRYPT_DECRYPT"
	KMSGenerateVerifyMAC = "GENERATE_VERIFY_MAC"

	KMSManagedByAWS      = "AWS"
	KMSManagedByCustomer = "CUSTOMER"
)

// KMSKey is a symmetric key. Its material never leaves the control plane, and
// is in the store only sealed by the keyring.
//
// The KMS provider writes it, data/keys makes AWS-managed ones at their first
// use, and control/expiry removes it when its deletion window is over.
type KMSKey struct {
	ID          string    `json:"keyId"` // a UUID
	ARN         string    `json:"arn"`
	Description string    `json:"description,omitempty"`
	CreatedAt   time.Time `json:"createdAt"`
	// Manager is CUSTOMER, or AWS for those behind aliases alias/aws/….
	Manager           string     `json:"keyManager"`
	Usage             string     `json:"keyUsage"` // ENCRYPT_DECRYPT or GENERATE_VERIFY_MAC
	Spec              string     `json:"keySpec"`
	State             string     `json:"keyState"`
	DeletionDate      *time.Time `json:"deletionDate,omitempty"`
	PendingWindowDays int32      `json:"pendingWindowInDays,omitempty"`
	Policy            string     `json:"policy"`
	RotationEnabled   bool       `json:"rotationEnabled,omitempty"`
	RotationDays      int32      `json:"rotationPeriodInDays,omitempty"`
	NextRotation      *time.Time `json:"nextRotationDate,omitempty"`
	Tags              []Tag      `json:"tags,omitempty"`
	Grants            []KMSGrant `json:"grants,omitempty"`
	// Materials are the key's generations, oldest first: the last encrypts, all
	// decrypt.
	Materials []KMSMaterial `json:"materials"`
}

// Key identifies the key in the store.
func (k *KMSKey) Key() string { return k.ID }

// KMSMaterial is one generation of a key.
type KMSMaterial struct {
	ID        string    `json:"id"`
	Sealed    []byte    `json:"sealed"`
	CreatedAt time.Time `json:"createdAt"`
	// OnDemand: RotateKeyOnDemand made it, not the schedule.
	OnDemand bool `json:"onDemand,omitempty"`
}

// KMSGrant lets a principal use a key.
type KMSGrant struct {
	ID            string            `json:"grantId"`
	Token         string            `json:"grantToken"`
	Name          string            `json:"name,omitempty"`
	Grantee       string            `json:"granteePrincipal"`
	Retiring      string            `json:"retiringPrincipal,omitempty"`
	Issuer        string            `json:"issuingAccount"`
	Operations    []string          `json:"operations"`
	ContextEquals map[string]string `json:"encryptionContextEquals,omitempty"`
	ContextSubset map[string]string `json:"encryptionContextSubset,omitempty"`
	CreatedAt     time.Time         `json:"createdAt"`
}

// KMSAlias is a second name of a key.
type KMSAlias struct {
	Name      string    `json:"aliasName"` // alias/…
	KeyID     string    `json:"targetKeyId"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// Key identifies the alias in the store.
func (a *KMSAlias) Key() string { return a.Name }
