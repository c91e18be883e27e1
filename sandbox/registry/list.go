package registry

import (
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a page (API reference, ListThings and SearchIndex).
const (
	defaultPage = 25
	maxPage     = 250
	maxSearch   = 100
)

// page cuts one page out of names in their order. The token of the next page is the last name of this one.
func page(names []string, token string, size int) (list []string, next string) {
	slices.Sort(names)
	start, found := slices.BinarySearch(names, token)
	if found {
		start++
	}
	end := min(len(names), start+size)
	if end < len(names) {
		next = names[end-1]
	}
	return names[start:end], next
}

// Add registers a thing with attributes, without a certificate.
func (r *Registry) Add(name string, attributes map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.things[name]; !ok {
		r.things[name] = nil
	}
	r.attributes[name] = attributes
}

// listThings is ListThings, all of them or those with one attribute.
func (r *Registry) listThings(query url.Values) (any, error) {
	size := defaultPage
	if text := query.Get("maxResults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return nil, invalid("maxResults must be 1 to %d", maxPage)
		}
		size = n
	}
	var names []string
	for name := range maps.Keys(r.things) {
		if a := query.Get("attributeName"); a == "" || r.attributes[name][a] == query.Get("attributeValue") {
			names = append(names, name)
		}
	}
	list, next := page(names, query.Get("nextToken"), size)
	things := make([]any, len(list))
	for i, name := range list {
		things[i], _ = r.describeThing(name)
	}
	return map[string]any{"things": things, "nextToken": nullable(next)}, nil
}

// nullable is nil for the empty string, as the API has it.
func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// searchIndex is SearchIndex with a part of the query language: terms KEY:VALUE joined by AND, where KEY is thingName,
// attributes.NAME or connectivity.connected, and VALUE may hold wild cards.
func (r *Registry) searchIndex(query, token string, size int) (any, error) {
	if r.cfg.NoFleetIndex {
		return nil, notFound("Index AWS_Things does not exist")
	}
	if size == 0 || size > maxSearch {
		size = maxSearch
	}
	var terms [][2]string
	for term := range strings.SplitSeq(query, " AND ") {
		key, value, ok := strings.Cut(strings.TrimSpace(term), ":")
		known := key == "thingName" || key == "connectivity.connected" || strings.HasPrefix(key, "attributes.")
		if _, err := path.Match(value, ""); !ok || !known || err != nil {
			return nil, &apiError{400, "InvalidQueryException", "Invalid query: " + query}
		}
		terms = append(terms, [2]string{key, strings.Trim(value, `"`)})
	}
	var names []string
	for name := range maps.Keys(r.things) {
		if r.indexed(name, terms) {
			names = append(names, name)
		}
	}
	list, next := page(names, token, size)
	things := make([]any, len(list))
	for i, name := range list {
		things[i] = map[string]any{
			"thingName": name, "attributes": r.attributes[name],
			"connectivity": map[string]any{"connected": r.connected(name)},
		}
	}
	return map[string]any{"things": things, "nextToken": nullable(next)}, nil
}

func (r *Registry) indexed(name string, terms [][2]string) bool {
	for _, t := range terms {
		value := name
		if a, ok := strings.CutPrefix(t[0], "attributes."); ok {
			value = r.attributes[name][a]
		} else if t[0] == "connectivity.connected" {
			value = strconv.FormatBool(r.connected(name))
		}
		if ok, _ := path.Match(t[1], value); !ok {
			return false
		}
	}
	return true
}

// connected is what the index knows: whether the client that is named like the thing is connected.
func (r *Registry) connected(name string) bool {
	return r.cfg.Connected != nil && r.cfg.Connected(name)
}
