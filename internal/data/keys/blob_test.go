package keys

import (
	"bytes"
	"slices"
	"testing"
)

// What has the form of a blob is one that its parts make again, whatever they
// say; anything else is refused without a panic.
func FuzzParseBlob(f *testing.F) {
	head, ok := header("01234567-89ab-cdef-0123-456789abcdef", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff")
	if !ok {
		f.Fatal("no header")
	}
	f.Add([]byte{})
	f.Add(head)
	f.Add(append(bytes.Clone(head), 0))
	f.Add(append(bytes.Clone(head), 3, 1, 2, 3, 4, 5))
	f.Add(append(bytes.Clone(head), 255, 1, 2, 3))
	f.Add(append([]byte{2}, head[1:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, ok := parseBlob(data)
		if !ok {
			return
		}
		head, ok := header(b.keyID, b.materialID)
		if !ok {
			t.Fatalf("the ids %q and %q of a blob make no header", b.keyID, b.materialID)
		}
		if again := slices.Concat(head, []byte{byte(len(b.wrapped))}, b.wrapped, b.ciphertext); !bytes.Equal(again, data) {
			t.Errorf("%x came back as %x", data, again)
		}
		if !bytes.Equal(slices.Concat(b.envelope, b.ciphertext), data) || !bytes.HasPrefix(b.envelope, b.header) {
			t.Errorf("%x is authenticated as %x and %x", data, b.header, b.envelope)
		}
	})
}

func TestHeader_refuses(t *testing.T) {
	const key, material = "01234567-89ab-cdef-0123-456789abcdef", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	for _, tc := range [][2]string{{"", material}, {key[1:], material}, {"0123456789abcdef0123456789abcdef", material}, {"mrk-0123456789abcdef0123456789abcdef", material}, {key, ""}, {key, material[2:]}, {key, "z" + material[1:]}} {
		if _, ok := header(tc[0], tc[1]); ok {
			t.Errorf("%q made a header", tc)
		}
	}
}
