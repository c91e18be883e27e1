package awscli

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// validate checks parameters as the AWS CLI does before it sends them: required members, unknown ones, types and minimum
// lengths. The service checks the rest.
func validate(params map[string]any, members []shape) error {
	v := &validation{}
	v.structure("", params, members)
	if len(v.faults) == 0 {
		return nil
	}
	return usagef("Parameter validation failed: %s", strings.Join(v.faults, "; "))
}

type validation struct{ faults []string }

func (v *validation) fault(format string, args ...any) {
	v.faults = append(v.faults, fmt.Sprintf(format, args...))
}

func (v *validation) structure(path string, m map[string]any, members []shape) {
	where := path
	if where == "" {
		where = "input"
	}
	names := []string{}
	for _, s := range members {
		names = append(names, s.name)
		if e, there := m[s.name]; there {
			v.value(strings.TrimPrefix(path+"."+s.name, "."), e, s)
		} else if s.required {
			v.fault("Missing required parameter in %s: %q", where, s.name)
		}
	}
	unknown := []string{}
	for k := range m {
		if !slices.Contains(names, k) {
			unknown = append(unknown, k)
		}
	}
	slices.Sort(unknown)
	for _, k := range unknown {
		v.fault("Unknown parameter in %s: %q, must be one of: %s", where, k, strings.Join(names, ", "))
	}
}

func (v *validation) value(path string, e any, s shape) {
	wrong := func(want string) {
		v.fault("Invalid type for parameter %s: %s is needed, not %s", path, want, typeName(e))
	}
	switch s.kind {
	case structureKind:
		m, ok := e.(map[string]any)
		if !ok {
			wrong("an object")
			return
		}
		v.structure(path, m, s.members)
	case listKind:
		list, ok := e.([]any)
		if !ok {
			wrong("a list")
			return
		}
		v.length(path, len(list), s)
		for i, x := range list {
			v.value(fmt.Sprintf("%s[%d]", path, i), x, s.members[0])
		}
	case integerKind:
		n, ok := e.(int)
		if !ok {
			wrong("an integer")
		} else if n < s.least {
			v.fault("Invalid value for parameter %s, value: %d, valid min value: %d", path, n, s.least)
		}
	case booleanKind:
		if _, ok := e.(bool); !ok {
			wrong("true or false")
		}
	case stringKind, timestampKind:
		text, ok := e.(string)
		if !ok {
			wrong("a string")
			return
		}
		v.length(path, utf8.RuneCountInString(text), s)
	}
}

func (v *validation) length(path string, n int, s shape) {
	if n < s.least {
		v.fault("Invalid length for parameter %s, value: %d, valid min length: %d", path, n, s.least)
	}
}
