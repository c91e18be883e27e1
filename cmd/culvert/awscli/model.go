package awscli

import (
	"strconv"
	"strings"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli/output"
	"github.com/culvert-iot/culvert/services"
)

// kind is a type of the API model.
type kind int

const (
	stringKind kind = iota
	integerKind
	booleanKind
	timestampKind
	structureKind
	listKind
)

// shape is a member of an input or output in the API model.
type shape struct {
	name     string // as on the wire
	kind     kind
	required bool
	enum     []string
	least    int // of a length or of a value; 0 is none
	doc      string
	members  []shape // of a structure, or the one element of a list
}

// option is the member's name on the command line: tunnelId is tunnel-id.
func (s shape) option() string {
	var b strings.Builder
	for _, r := range s.name {
		if 'A' <= r && r <= 'Z' {
			b.WriteByte('-')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// needs makes a member required.
func needs(s shape) shape {
	s.required = true
	return s
}

func text(name, doc string) shape { return shape{name: name, doc: doc} }

// some makes a text that cannot be empty.
func some(s shape) shape {
	s.least = 1
	return s
}

// The shapes of the API model.
var (
	tunnelID  = needs(text("tunnelId", "the tunnel's id"))
	arn       = needs(some(text("resourceArn", "the tunnel's ARN")))
	thingName = some(text("thingName", "name of the thing to notify"))

	destinationConfig = shape{
		name: "destinationConfig", kind: structureKind, doc: "the device and its services",
		members: []shape{thingName, {
			name: "services", kind: listKind, required: true, least: 1, doc: "names of the services to reach",
			members: []shape{some(text("Service", ""))},
		}},
	}
	timeoutConfig = shape{
		name: "timeoutConfig", kind: structureKind, doc: "how long the tunnel may stay open",
		members: []shape{{name: "maxLifetimeTimeoutMinutes", kind: integerKind, least: 1, doc: "minutes, 1 to 720"}},
	}
	tags = shape{
		name: "tags", kind: listKind, least: 1, doc: "tags of the tunnel",
		members: []shape{{name: "Tag", kind: structureKind, members: []shape{
			needs(some(text("key", "the tag's key"))), needs(text("value", "the tag's value, which may be empty")),
		}}},
	}
	tagKeys    = shape{name: "tagKeys", kind: listKind, required: true, doc: "keys of the tags to remove", members: []shape{some(text("TagKey", ""))}}
	clientMode = shape{name: "clientMode", required: true, enum: []string{"SOURCE", "DESTINATION", "ALL"}, doc: "whose token to replace"}

	// Members of outputs. None is required.
	state = []shape{
		{name: "status", enum: []string{"CONNECTED", "DISCONNECTED"}}, {name: "lastUpdatedAt", kind: timestampKind},
	}
	tunnelStatus = shape{name: "status", enum: []string{"OPEN", "CLOSED"}}
	summary      = []shape{
		{name: "tunnelId"},
		{name: "tunnelArn"},
		tunnelStatus,
		{name: "description"},
		{name: "createdAt", kind: timestampKind},
		{name: "lastUpdatedAt", kind: timestampKind},
	}
	tunnel = []shape{
		{name: "tunnelId"},
		{name: "tunnelArn"},
		tunnelStatus,
		{name: "sourceConnectionState", kind: structureKind, members: state},
		{name: "destinationConnectionState", kind: structureKind, members: state},
		{name: "description"},
		destinationConfig, timeoutConfig, tags,
		{name: "createdAt", kind: timestampKind},
		{name: "lastUpdatedAt", kind: timestampKind},
	}
)

// skeleton is a sample of a structure. With useNames, names fill the strings, as in the AWS CLI's sample of an output.
func skeleton(s shape, useNames bool) any {
	switch s.kind {
	case structureKind:
		object := output.Object{}
		for _, member := range s.members {
			object = append(object, output.Member{Name: member.name, Value: skeleton(member, useNames)})
		}
		return object
	case listKind:
		return []any{skeleton(s.members[0], useNames)}
	case integerKind:
		return int64(0)
	case booleanKind:
		return true
	case timestampKind:
		return "1970-01-01T00:00:00"
	case stringKind:
	}
	switch {
	case useNames:
		return s.name
	case len(s.enum) > 0:
		return s.enum[0]
	}
	return ""
}

// yamlSkeleton writes a sample with comments, in the order of the model.
func yamlSkeleton(b *strings.Builder, members []shape, indent, first string) {
	for _, m := range members {
		comment := ""
		if m.required {
			comment += "[REQUIRED] "
		}
		comment += m.doc
		if len(m.enum) > 0 {
			comment += "; one of " + strings.Join(m.enum, ", ")
		}
		b.WriteString(first + m.name + ":")
		first = indent
		end := "  # " + comment + "\n"
		switch m.kind {
		case structureKind:
			b.WriteString(end)
			yamlSkeleton(b, m.members, indent+"  ", indent+"  ")
		case listKind:
			b.WriteString(end + indent + "- ")
			if e := m.members[0]; e.kind == structureKind {
				yamlSkeleton(b, e.members, indent+"  ", "")
			} else {
				b.WriteString("''\n")
			}
		case integerKind:
			b.WriteString(" 0" + end)
		case booleanKind:
			b.WriteString(" true" + end)
		case stringKind, timestampKind:
			value := "''"
			if len(m.enum) > 0 {
				value = m.enum[0]
			}
			b.WriteString(" " + value + end)
		}
	}
}

// written is a word in the shorthand of a structure, as the value of its first member; "" if the shape has none. What
// cannot be such a value is named by what belongs there.
func (s shape) written(word string) string {
	valid := services.ValidName(word)
	switch s.name {
	case destinationConfig.name:
		if !valid {
			word = "NAME"
		}
		return "thingName=" + word + ",services=SSH"
	case timeoutConfig.name:
		if _, err := strconv.Atoi(word); err != nil {
			word = "MINUTES"
		}
		return "maxLifetimeTimeoutMinutes=" + word
	case tags.name:
		if !valid {
			word = "KEY"
		}
		return "key=" + word + ",value=VALUE"
	}
	return ""
}
