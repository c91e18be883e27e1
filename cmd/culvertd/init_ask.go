package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ask fills in what no flag has said, if somebody sits at a terminal.
func (p *program) ask(s *setting) error {
	host, _ := os.Hostname()
	questions := []struct {
		to              *string
		flag            string
		asked, fallback string
	}{
		{&s.thing, "thing", "Name of this device's thing in AWS IoT", host},
		{&s.endpoint, "endpoint", "The account's endpoint, as \"aws iot describe-endpoint --endpoint-type iot:Data-ATS\" prints it", ""},
		{&s.cert, "cert", "File of the device's certificate", ""},
		{&s.key, "key", "File of its private key", ""},
	}
	var missing []string
	for _, q := range questions {
		if *q.to == "" {
			missing = append(missing, "--"+q.flag)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if f, ok := p.in.(*os.File); !ok || !isTerminal(f) {
		return &usageError{"init needs " + strings.Join(missing, ", ") + ", or a --bundle of culvert setup-thing; at a terminal it asks"}
	}
	answers := bufio.NewReader(p.in)
	for _, q := range questions {
		for *q.to == "" {
			prompt := q.asked
			if q.fallback != "" {
				prompt += " [" + q.fallback + "]"
			}
			if _, err := fmt.Fprint(p.out, prompt+": "); err != nil {
				return err
			}
			line, err := answers.ReadString('\n')
			if *q.to = strings.TrimSpace(line); *q.to == "" && err == nil {
				*q.to = q.fallback
			}
			if *q.to == "" && err != nil {
				if errors.Is(err, io.EOF) {
					err = errors.New("nothing was written: an answer is missing")
				}
				return err
			}
		}
	}
	return nil
}
