package secret

import (
	"regexp"
	"testing"
)

func TestAClientTokenIsARandomUUID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	a, b := NewClientToken().Reveal(), NewClientToken().Reveal()
	if !form.MatchString(a) || !form.MatchString(b) || a == b {
		t.Errorf("client tokens %s and %s", a, b)
	}
}
