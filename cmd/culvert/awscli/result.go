package awscli

import (
	"reflect"
	"strings"
	"time"
)

// result makes of a client's structure what output prints: objects with the members' names as on the wire, time stamps
// as text. Absent members are left out.
func result(v any, stamp func(time.Time) any) any {
	return fromValue(reflect.ValueOf(v), stamp)
}

func fromValue(v reflect.Value, stamp func(time.Time) any) any {
	switch v.Kind() {
	case reflect.Pointer:
		return fromValue(v.Elem(), stamp)
	case reflect.Struct:
		if t, ok := reflect.TypeAssert[time.Time](v); ok {
			return stamp(t)
		}
		m := map[string]any{}
		for i := range v.NumField() {
			f, e := v.Type().Field(i), v.Field(i)
			absent := e.Kind() == reflect.Pointer && e.IsNil() || e.Kind() == reflect.Slice && e.IsNil() ||
				e.Kind() == reflect.String && e.Len() == 0
			if absent || !f.IsExported() || f.Name == "ResultMetadata" {
				continue
			}
			m[strings.ToLower(f.Name[:1])+f.Name[1:]] = fromValue(e, stamp)
		}
		return m
	case reflect.Slice:
		list := []any{}
		for i := range v.Len() {
			list = append(list, fromValue(v.Index(i), stamp))
		}
		return list
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Int32:
		return int(v.Int())
	default:
		panic("no such kind in the API: " + v.Kind().String())
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
	return float64(t.UnixMilli()) / 1000
}
