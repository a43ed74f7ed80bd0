package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
)

// sum is the hash of a line; that of no line, at the beginning of a log, is zero.
type sum [sha256.Size]byte

func (s sum) String() string { return hex.EncodeToString(s[:]) }

const (
	prevKey = `,"prev":"`
	hashKey = `,"hash":"`
	hexSize = 2 * sha256.Size
	// The ends of a line: from the comma before "prev", and before "hash".
	hashTail  = len(hashKey) + hexSize + len(`"}`)
	chainTail = len(prevKey) + hexSize + len(`"`) + hashTail
)

// seal ends the line that begins at from in b: it appends the hash of the line
// before and its own, and the newline.
func seal(b []byte, from int, prev sum) ([]byte, sum) {
	b = append(b, prevKey...)
	b = append(hex.AppendEncode(b, prev[:]), '"')
	own := sum(sha256.Sum256(b[from:]))
	b = append(b, hashKey...)
	b = hex.AppendEncode(b, own[:])
	return append(b, "\"}\n"...), own
}

// parseLine takes the hashes from a line without its newline. It is false where
// the line does not have the form of one.
func parseLine(line []byte) (prev, own sum, ok bool) {
	at := len(line) - chainTail
	if at < 0 || !bytes.HasPrefix(line, []byte(`{"time":"`)) {
		return prev, own, false
	}
	if !takeSum(line[at:], prevKey, `"`, &prev) || !takeSum(line[len(line)-hashTail:], hashKey, `"}`, &own) {
		return prev, own, false
	}
	return prev, own, true
}

func takeSum(b []byte, before, after string, s *sum) bool {
	if !bytes.HasPrefix(b, []byte(before)) || !bytes.HasPrefix(b[len(before)+hexSize:], []byte(after)) {
		return false
	}
	text := b[len(before):][:hexSize]
	_, err := hex.Decode(s[:], text)
	return err == nil && bytes.Equal(bytes.ToLower(text), text)
}

// intact reports whether a line, which has this hash, is what was hashed.
func intact(line []byte, own sum) bool {
	return sha256.Sum256(line[:len(line)-hashTail]) == own
}
