package resume

import "testing"

// Plain bytes keep to no credit, so more of them may have come than was granted. Another process goes on with such a
// connection, too.
func TestPlainBytesBeyondTheCreditAreHandedOver(t *testing.T) {
	memory := NewMemory(1 << 20)
	s := New(memory)
	s.Hello(NewID(), Address{}, true)
	if _, err := s.Receive(make([]byte, 3*InitialCredit)); err != nil {
		t.Fatal(err)
	}
	s.Took(InitialCredit)
	s.Detach()
	next, err := Restore(memory, s.Save())
	if err != nil {
		t.Fatal(err)
	}
	if next.Untaken() != 2*InitialCredit {
		t.Errorf("%d bytes are not taken", next.Untaken())
	}
	s.Release()
	next.Release()
}
