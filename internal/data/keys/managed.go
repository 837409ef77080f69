package keys

import (
	"strings"
	"time"

	"berth.dev/berth/internal/base/ident"
	"berth.dev/berth/internal/model"
)

// managed finds the alias of a service's key that a name means.
func (k *Keys) managed(name string) (alias string, ok bool) {
	for _, alias := range []string{SecretsManager, SSM} {
		if name == alias || name == k.ARN(alias) {
			return alias, true
		}
	}
	return "", false
}

// managedKey makes the key of a service. AWS rotates such keys every year.
func (k *Keys) managedKey(alias string) (*model.KMSKey, error) {
	id := ident.UUID()
	material, err := k.NewMaterial(id, SymmetricDefault, time.Time{}, false)
	if err != nil {
		return nil, err
	}
	key := &model.KMSKey{
		ID: id, ARN: k.ARN("key/" + id), Manager: model.KMSManagedByAWS, Usage: model.KMSEncryptDecrypt, Spec: SymmetricDefault,
		Description: "Default key that protects my Secrets Manager data when no other key is defined", Policy: secretsManagerPolicy,
		State: model.KMSKeyEnabled, RotationEnabled: true, RotationDays: 365, Materials: []model.KMSMaterial{material},
	}
	if alias == SSM {
		key.Description, key.Policy = "Default key that protects my SSM parameters when no other key is defined", ssmPolicy
	}
	key.Policy = strings.NewReplacer("ACCOUNT", k.cfg.Scope.AccountID, "REGION", k.cfg.Scope.Region, "ROOT", k.cfg.Scope.Root()).Replace(key.Policy)
	return key, nil
}

// The policies that AWS gives these keys: all of the account may use them
// through the service, and see what they are (guides of Secrets Manager,
// "Secret encryption and decryption", and of KMS on Parameter Store). AWS's
// first has one Sid twice, which it takes from nobody else; here the second
// statement has none.
const (
	secretsManagerPolicy = `{
  "Version" : "2012-10-17",
  "Id" : "auto-secretsmanager-2",
  "Statement" : [ {
    "Sid" : "Allow access through AWS Secrets Manager for all principals in the account that are authorized to use AWS Secrets Manager",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "*"
    },
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:CreateGrant", "kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : {
      "StringEquals" : {
        "kms:CallerAccount" : "ACCOUNT",
        "kms:ViaService" : "secretsmanager.REGION.amazonaws.com"
      }
    }
  }, {
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "*"
    },
    "Action" : "kms:GenerateDataKey*",
    "Resource" : "*",
    "Condition" : {
      "StringEquals" : {
        "kms:CallerAccount" : "ACCOUNT"
      },
      "StringLike" : {
        "kms:ViaService" : "secretsmanager.REGION.amazonaws.com"
      }
    }
  }, {
    "Sid" : "Allow direct access to key metadata to the account",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "ROOT"
    },
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant" ],
    "Resource" : "*"
  } ]
}`
	ssmPolicy = `{
  "Version" : "2012-10-17",
  "Id" : "auto-ssm-1",
  "Statement" : [ {
    "Sid" : "Allow access through SSM for all principals in the account that are authorized to use SSM",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "*"
    },
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant", "kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : {
      "StringEquals" : {
        "kms:CallerAccount" : "ACCOUNT",
        "kms:ViaService" : "ssm.REGION.amazonaws.com"
      }
    }
  }, {
    "Sid" : "Allow direct access to key metadata to the account",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "ROOT"
    },
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant" ],
    "Resource" : "*"
  } ]
}`
)
