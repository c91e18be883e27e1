package types

import (
	"encoding/json"
	"math"
	"reflect"
	"time"
)

// stamp is a time as the service writes it: seconds since 1970, with a fraction.
type stamp time.Time

// UnmarshalJSON keeps microseconds, as the AWS CLI does.
func (s *stamp) UnmarshalJSON(text []byte) error {
	var seconds float64
	err := json.Unmarshal(text, &seconds)
	if err != nil || math.Abs(seconds) > 1e11 { // the year 5138: later times overflow
		return &json.UnmarshalTypeError{Value: string(text), Type: reflect.TypeFor[time.Time]()}
	}
	*s = stamp(time.UnixMicro(int64(math.RoundToEven(seconds * 1e6))).UTC())
	return nil
}
