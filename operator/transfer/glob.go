package transfer

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// expand returns the paths that a remote pattern matches, sorted. A pattern that is the name of an existing file means
// that file. As in a shell, only a pattern that starts with a dot matches a name that does.
func expand(src source, pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{pattern}, nil
	}
	_, err := src.Lstat(pattern)
	if err == nil {
		return []string{pattern}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, errors.New("a bad pattern: [ needs its ]")
	}
	found := []string{"/"} // patterns are absolute
	parts := strings.Split(strings.Trim(pattern, "/"), "/")
	var denied error
	for i, part := range parts {
		var next []string
		for _, dir := range found {
			if !strings.ContainsAny(part, `*?[\`) {
				p := path.Join(dir, part)
				if _, err := src.Lstat(p); err == nil {
					next = append(next, p)
				} else if isLost(err) {
					return nil, err
				}
				continue
			}
			if i > 0 { // only directories have something below them
				if info, err := src.Stat(dir); err != nil || !info.IsDir() {
					continue
				}
			}
			entries, err := src.ReadDir(dir)
			if isLost(err) {
				return nil, err
			}
			if err != nil {
				denied = failf(err, "list %s", dir)
			}
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(part, ".") {
					continue
				}
				if ok, _ := path.Match(part, e.Name()); ok {
					next = append(next, path.Join(dir, e.Name()))
				}
			}
		}
		found = next
	}
	slices.Sort(found)
	switch {
	case len(found) > 0:
		return found, nil
	case denied != nil:
		return nil, denied
	}
	return nil, errors.New("nothing matches")
}
