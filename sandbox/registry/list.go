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

// AddToGroup puts a thing into a group, and creates the group if it is new.
func (r *Registry) AddToGroup(group, thing string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.groups[group], thing) {
		r.groups[group] = append(r.groups[group], thing)
	}
}

// pageSize reads a list's maxResults.
func pageSize(query url.Values) (int, error) {
	text := query.Get("maxResults")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, invalid("maxResults must be 1 to %d", maxPage)
	}
	return n, nil
}

// listGroup is ListThingsInThingGroup. The sandbox's groups contain no groups.
func (r *Registry) listGroup(group string, query url.Values) (any, error) {
	members, ok := r.groups[group]
	if !ok {
		return nil, notFound("Thing Group %s does not exist", group)
	}
	size, err := pageSize(query)
	if err != nil {
		return nil, err
	}
	list, next := page(slices.Clone(members), query.Get("nextToken"), size)
	return map[string]any{"things": list, "nextToken": nullable(next)}, nil
}

// groupsOf is ListThingGroupsForThing.
func (r *Registry) groupsOf(thing string) (any, error) {
	if _, ok := r.things[thing]; !ok {
		return nil, notFound("Thing %s does not exist", thing)
	}
	list := []map[string]string{}
	for _, group := range slices.Sorted(maps.Keys(r.groups)) {
		if slices.Contains(r.groups[group], thing) {
			list = append(list, map[string]string{"groupName": group, "groupArn": r.arn("thinggroup/" + group)})
		}
	}
	return map[string]any{"thingGroups": list}, nil
}

// listThings is ListThings, all of them or those with one attribute.
func (r *Registry) listThings(query url.Values) (any, error) {
	size, err := pageSize(query)
	if err != nil {
		return nil, err
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
// thingGroupNames, attributes.NAME or connectivity.connected, and VALUE may hold wild cards.
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
		known := key == "thingName" || key == "thingGroupNames" || key == "connectivity.connected" || strings.HasPrefix(key, "attributes.")
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
		if t[0] == "thingGroupNames" {
			if !r.inGroup(name, t[1]) {
				return false
			}
			continue
		}
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

// inGroup reports whether a thing is in a group whose name matches pattern.
func (r *Registry) inGroup(thing, pattern string) bool {
	for group, members := range r.groups {
		if ok, _ := path.Match(pattern, group); ok && slices.Contains(members, thing) {
			return true
		}
	}
	return false
}

// connected is what the index knows: whether the client that is named like the thing is connected.
func (r *Registry) connected(name string) bool {
	return r.cfg.Connected != nil && r.cfg.Connected(name)
}
