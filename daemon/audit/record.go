package audit

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The events. contrib/doc/audit.md explains them to operators.
const (
	// EventRPC is a call on its way out, whatever became of it.
	EventRPC = "rpc"
	// EventDecision is a call that changes something, before it acts.
	EventDecision = "decision"
	// EventHandshake is a connection that was refused; it has Peer and Reason.
	EventHandshake = "handshake"
	// EventStart is a process that opened the log.
	EventStart = "start"
	// EventReopen is the first line of a file after a rotation.
	EventReopen = "reopen"
	// EventTorn accounts for an unfinished line before it, which a crash or a full
	// disk left.
	EventTorn = "torn"
)

// Events are all events.
func Events() []string {
	return []string{EventRPC, EventDecision, EventHandshake, EventStart, EventReopen, EventTorn}
}

// Record is one line. It never holds a key, a request or a response.
type Record struct {
	// Time is when the call began, or the event happened; UTC.
	Time time.Time `json:"time"`
	// Event is one of Events; empty is taken for EventRPC.
	Event     string `json:"event"`
	RequestID string `json:"request_id"`
	// CN, Role and Serial are the caller's; Serial is upper-case hex.
	CN     string `json:"cn"`
	Role   string `json:"role"`
	Serial string `json:"serial"`
	// Peer is the caller's address and port.
	Peer string `json:"peer"`
	// Method is the full name of the RPC, Action what the policy decided on.
	Method string `json:"method"`
	Action string `json:"action"`
	// Container is the user name that the call is about; empty where it is about
	// none.
	Container string `json:"container"`
	// Decision is "allow" or "deny"; Rule is the rule that made it, empty where no
	// rule allows the call.
	Decision string `json:"decision"`
	Rule     string `json:"rule"`
	// Code is the name of the gRPC status code, as "OK"; empty before a call acts.
	Code string `json:"code"`
	// DurationMS is in milliseconds, to the microsecond.
	DurationMS float64 `json:"duration_ms"`
	// Reason says in words what an event other than a call is about.
	Reason string `json:"reason"`
	// Prev is the hash of the line before, 64 zeros at the beginning of a log; Hash
	// is the SHA-256 of this line up to the comma before "hash". Both in lower-case
	// hex, and set by Write alone.
	Prev string `json:"prev"`
	Hash string `json:"hash"`
}

const (
	// maxText bounds what a caller can put into a field, in bytes: more than any
	// valid name has, little enough that a line stays a line.
	maxText = 128
	// maxWords bounds the fields that the daemon words itself.
	maxWords = 256
	// maxDuration is 30 years in milliseconds.
	maxDuration = 1e12
)

// clean bounds every text and makes it printable. What is cleaned stays as it is
// when it is cleaned again.
func (r *Record) clean() {
	r.Time = r.Time.UTC().Round(0)
	if r.Event == "" {
		r.Event = EventRPC
	}
	for _, s := range []*string{&r.Event, &r.RequestID, &r.CN, &r.Role, &r.Serial, &r.Peer, &r.Method, &r.Action, &r.Container, &r.Decision, &r.Code} {
		*s = clean(*s, maxText)
	}
	r.Rule, r.Reason = clean(r.Rule, maxWords), clean(r.Reason, maxWords)
	if !(r.DurationMS > 0) { // also where it is no number
		r.DurationMS = 0
	}
	r.DurationMS = math.Round(min(r.DurationMS, maxDuration)*1000) / 1000
}

// hidden stands for a text that holds a private key, in a field that a caller
// filled by mistake.
const hidden = "(a private key)"

// clean bounds text that a caller chose to max bytes, and replaces what is not
// printable, so that a line can neither be broken nor drive a terminal.
func clean(s string, max int) string {
	if plain(s) && len(s) <= max && len(s) < len("PRIVATE KEY") {
		return s
	}
	if strings.Contains(s, "PRIVATE KEY") {
		return hidden
	}
	if len(s) > max {
		cut := max - len("…")
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	if plain(s) {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
	if len(s) > max { // a replacement is longer than what it replaces
		return clean(s, max)
	}
	return s
}

// plain reports whether a text is printable ASCII.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// appendJSON appends the record up to the chain as encoding/json writes it, which
// FuzzWrite holds it to. The record must be clean.
func (r *Record) appendJSON(b []byte) ([]byte, error) {
	b = append(b, `{"time":"`...)
	b, err := r.Time.AppendText(b)
	if err != nil {
		return b, fmt.Errorf("encode audit record: %w", err)
	}
	b = append(b, '"')
	for _, f := range [...]struct{ key, text string }{
		{`,"event":"`, r.Event},
		{`,"request_id":"`, r.RequestID},
		{`,"cn":"`, r.CN},
		{`,"role":"`, r.Role},
		{`,"serial":"`, r.Serial},
		{`,"peer":"`, r.Peer},
		{`,"method":"`, r.Method},
		{`,"action":"`, r.Action},
		{`,"container":"`, r.Container},
		{`,"decision":"`, r.Decision},
		{`,"rule":"`, r.Rule},
		{`,"code":"`, r.Code},
	} {
		b = append(appendText(append(b, f.key...), f.text), '"')
	}
	b = strconv.AppendFloat(append(b, `,"duration_ms":`...), r.DurationMS, 'f', -1, 64)
	return append(appendText(append(b, `,"reason":"`...), r.Reason), '"'), nil
}

// appendText appends clean text as encoding/json does within quotes.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '<', '>', '&':
			b = append(b, `\u00`...)
			b = append(b, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}
