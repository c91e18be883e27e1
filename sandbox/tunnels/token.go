package tunnels

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/internal/endpoints"
	"github.com/culvert-iot/culvert/internal/secret"
)

// token is one client access token and what became of it.
type token struct {
	tunnel      *tunnel
	mode        Mode
	clientToken string // the one it is bound to
	used        bool   // by a successful handshake
	revoked     bool   // rotated away
	revokedAt   time.Time
}

// newToken makes the side's valid token.
func (s *Store) newToken(t *tunnel, m Mode) string {
	text := newAccessToken(endpoints.Partition(s.cfg.Region), s.cfg.Region, s.cfg.Account)
	k := &token{tunnel: t, mode: m}
	s.tokens[text] = k
	t.sides[m].token = k
	return text
}

// newAccessToken looks like a real one: base64url of a message of the AWS Encryption SDK, version 1, about 600
// characters. The clear header holds the account and a key ARN with the region; the rest is random.
func newAccessToken(partition, region, account string) string {
	const size = 450
	b := make([]byte, 0, size)
	field := func(s string) {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s))) //nolint:gosec // short texts
		b = append(b, s...)
	}
	b = append(b, 0x01, 0x80, 0x01, 0x78) // version, type, algorithm
	b = append(b, random(16)...)          // message id
	var pairs strings.Builder             // encryption context, with its length before it
	for _, s := range []string{"account", account, "T", "CAT"} {
		_ = binary.Write(&pairs, binary.BigEndian, uint16(len(s))) //nolint:gosec // short texts
		pairs.WriteString(s)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(2+pairs.Len())) //nolint:gosec // short texts
	b = binary.BigEndian.AppendUint16(b, 2)
	b = append(b, pairs.String()...)
	b = binary.BigEndian.AppendUint16(b, 1) // encrypted data keys
	field("aws-kms")
	field(fmt.Sprintf("arn:%s:kms:%s:%s:key/%s", partition, region, account, secret.NewUUID()))
	b = append(b, random(max(32, size-len(b)))...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (s *Store) arn(id string) string {
	return fmt.Sprintf("arn:%s:iot:%s:%s:tunnel/%s", endpoints.Partition(s.cfg.Region), s.cfg.Region, s.cfg.Account, id)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
