package keys

import (
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// A blob has the form
//
//	version      1 byte, 1
//	key          16 bytes, the UUID of the KMS key
//	material     32 bytes, the id of the generation that wrapped the data key
//	length       1 byte, of what follows
//	wrapped key  the data key under the material, bound to all before it and
//	             to the encryption context
//	ciphertext   the plaintext under the data key, bound to all before it and
//	             to the encryption context
//
// Data keys are used once, for AES-256-GCM.
const (
	blobVersion  = 1
	blobHeader   = 1 + 16 + materialBytes
	maxWrapped   = 255
	dataKeyBytes = 32
)

// blob is a blob taken apart. Its slices are of the blob.
type blob struct {
	keyID, materialID string
	header            []byte // up to and with the material's id
	wrapped           []byte
	envelope          []byte // up to and with the wrapped key
	ciphertext        []byte
}

// parseBlob takes a blob apart. It says only that it has the form of one.
func parseBlob(b []byte) (blob, bool) {
	if len(b) < blobHeader+1 || b[0] != blobVersion {
		return blob{}, false
	}
	end := blobHeader + 1 + int(b[blobHeader])
	if len(b) < end {
		return blob{}, false
	}
	return blob{
		keyID: formatUUID(b[1:17]), materialID: hex.EncodeToString(b[17:blobHeader]),
		header: b[:blobHeader], wrapped: b[blobHeader+1 : end], envelope: b[:end], ciphertext: b[end:],
	}, true
}

// header begins a blob; ok is false for ids that are none.
func header(keyID, materialID string) (b []byte, ok bool) {
	key, err := hex.DecodeString(strings.ReplaceAll(keyID, "-", ""))
	if err != nil || keyID == "" || formatUUID(key) != keyID {
		return nil, false
	}
	material, err := hex.DecodeString(materialID)
	if err != nil || len(material) != materialBytes {
		return nil, false
	}
	return slices.Concat([]byte{blobVersion}, key, material), true
}

func formatUUID(b []byte) string {
	if len(b) != 16 {
		return ""
	}
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// bind is what is authenticated with a ciphertext: what stands before it in
// the blob and the encryption context, in a form that only one context has.
func bind(before []byte, encryptionContext map[string]string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(before)))
	b = append(b, before...)
	for _, name := range slices.Sorted(maps.Keys(encryptionContext)) {
		for _, s := range []string{name, encryptionContext[name]} {
			b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
			b = append(b, s...)
		}
	}
	return b
}
