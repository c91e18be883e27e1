package awscli

import (
	"reflect"
	"strings"
	"time"

	"github.com/culvert-iot/culvert/cmd/culvert/awscli/output"
)

// result makes a tree to print from a client's output structure: members as on the wire, in the order of the model,
// time stamps as stamp writes them. It leaves absent members out.
func result(v any, stamp func(time.Time) any) any { return tree(reflect.ValueOf(v), stamp) }

func tree(v reflect.Value, stamp func(time.Time) any) any {
	switch v.Kind() {
	case reflect.Pointer:
		return tree(v.Elem(), stamp)
	case reflect.Struct:
		if t, ok := reflect.TypeAssert[time.Time](v); ok {
			return stamp(t)
		}
		object := output.Object{}
		for i := range v.NumField() {
			e := v.Field(i)
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			absent := e.Kind() == reflect.Pointer && e.IsNil() || e.Kind() == reflect.Slice && e.IsNil() ||
				e.Kind() == reflect.String && e.Len() == 0
			if !absent && name != "-" {
				object = append(object, output.Member{Name: name, Value: tree(e, stamp)})
			}
		}
		return object
	case reflect.Slice:
		list := []any{}
		for i := range v.Len() {
			list = append(list, tree(v.Index(i), stamp))
		}
		return list
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Int32:
		return v.Int()
	default:
		panic("the API has no such kind: " + v.Kind().String())
	}
}

// isoStamp is the AWS CLI's default form of time stamps, in the machine's time zone.
func isoStamp(t time.Time) any {
	form := "2006-01-02T15:04:05-07:00"
	if t.Nanosecond() != 0 {
		form = "2006-01-02T15:04:05.000000-07:00"
	}
	return t.Local().Format(form)
}

// wireStamp is the number that the service sent.
func wireStamp(t time.Time) any {
	if t.Nanosecond() == 0 {
		return t.Unix()
	}
	return float64(t.UnixMicro()) / 1e6
}
