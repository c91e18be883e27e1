package doctor

import "testing"

func TestPoliciesAreJudgedAsAWSDoes(t *testing.T) {
	const start, end = `{"Version":"2012-10-17","Statement":[`, `]}`
	for name, c := range map[string]struct {
		document string
		want     bool
	}{
		"exact":         {`{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:r:1:client/pi-1-tunnel"}`, true},
		"another one":   {`{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:r:1:client/pi-2-tunnel"}`, false},
		"wild card":     {`{"Effect":"Allow","Action":"iot:*","Resource":"*"}`, true},
		"variable":      {`{"Effect":"Allow","Action":["iot:Connect"],"Resource":["arn:aws:iot:r:1:client/${iot:Connection.Thing.ThingName}-tunnel"]}`, true},
		"thing alone":   {`{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:r:1:client/${iot:Connection.Thing.ThingName}"}`, false},
		"question mark": {`{"Effect":"Allow","Action":"IOT:connect","Resource":"arn:aws:iot:r:1:client/pi-?-tunnel"}`, true},
		"denied":        {`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"iot:Connect","Resource":"*tunnel"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			var p policy
			if err := p.add(start + c.document + end); err != nil {
				t.Fatal(err)
			}
			if got := p.allows("iot:Connect", "client/pi-1-tunnel", subject{"pi-1", "pi-1-tunnel"}); got != c.want {
				t.Errorf("allows = %v", got)
			}
		})
	}
	var p policy
	if err := p.add(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"x":"true"}}}}`); err == nil {
		t.Error("conditions were judged")
	}
}
