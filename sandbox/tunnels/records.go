package tunnels

import "slices"

// Describe returns a tunnel's record. Error: *NotFoundError.
func (s *Store) Describe(id string) (Tunnel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.find(id)
	if err != nil {
		return Tunnel{}, err
	}
	return t.snapshot(), nil
}

// List returns the tunnels of a thing, or all when thing is empty: newest first, closed ones too.
func (s *Store) List(thing string) []Tunnel {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	var list []Tunnel
	for _, t := range slices.Backward(s.order) {
		if !t.deleted && (thing == "" || t.Destination != nil && t.Destination.ThingName == thing) {
			list = append(list, t.snapshot())
		}
	}
	return list
}

// Tag sets tags; one with a key that is there already replaces its value. Error: *NotFoundError.
func (s *Store) Tag(arn string, tags []Tag) error {
	return s.byARN(arn, func(t *tunnel) {
		for _, tag := range tags {
			i := slices.IndexFunc(t.Tags, func(old Tag) bool { return old.Key == tag.Key })
			if i < 0 {
				t.Tags = append(t.Tags, tag)
			} else {
				t.Tags[i] = tag
			}
		}
	})
}

// Untag removes the tags with these keys; absent ones do not matter. Error: *NotFoundError.
func (s *Store) Untag(arn string, keys []string) error {
	return s.byARN(arn, func(t *tunnel) {
		t.Tags = slices.DeleteFunc(t.Tags, func(tag Tag) bool { return slices.Contains(keys, tag.Key) })
	})
}

// Tags returns a tunnel's tags. Error: *NotFoundError.
func (s *Store) Tags(arn string) (tags []Tag, err error) {
	err = s.byARN(arn, func(t *tunnel) { tags = slices.Clone(t.Tags) })
	return tags, err
}

func (s *Store) byARN(arn string, f func(*tunnel)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	for _, t := range s.order {
		if t.ARN == arn && !t.deleted {
			f(t)
			return nil
		}
	}
	return &NotFoundError{ID: arn}
}

func (s *Store) find(id string) (*tunnel, error) {
	s.sweep()
	t := s.tunnels[id]
	if t == nil || t.deleted {
		return nil, &NotFoundError{ID: id}
	}
	return t, nil
}

func (t *tunnel) snapshot() Tunnel {
	c := t.Tunnel
	c.Destination, c.Tags = c.Destination.clone(), slices.Clone(c.Tags)
	return c
}
