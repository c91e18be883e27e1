package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/culvert-iot/culvert/agent/config"
	"github.com/culvert-iot/culvert/internal/hint"
	"github.com/culvert-iot/culvert/internal/terminal"
)

// question asks for what a flag did not say.
type question struct {
	to       *string
	flag     string
	text     string
	fallback string
}

// ask fills in what no flag has said, if standard input is a terminal. It repeats a question until
// the answer is good.
func (p *program) ask(s *setting) error {
	host, _ := os.Hostname()
	var open []question
	var missing []string
	for _, q := range []question{
		{&s.thing, "thing", "Name of this device's thing in AWS IoT", host},
		{&s.endpoint, "endpoint", "The account's endpoint, as \"aws iot describe-endpoint --endpoint-type iot:Data-ATS\" prints it", ""},
		{&s.cert, "cert", "File of the device's certificate", ""},
		{&s.key, "key", "File of its private key", ""},
	} {
		if *q.to == "" {
			open, missing = append(open, q), append(missing, "--"+q.flag)
		}
	}
	if len(open) == 0 {
		return nil
	}
	if !terminal.Is(p.in) {
		return &usageError{"init needs " + strings.Join(missing, ", ") + ", or a --bundle of culvert setup-thing; at a terminal it asks"}
	}
	answers := bufio.NewReader(p.in)
	for _, q := range open {
		for *q.to == "" {
			answer, err := p.answer(answers, q)
			if err != nil {
				return err
			}
			*q.to = answer
			if wrong := s.judge(q.flag); answer != "" && wrong != nil {
				hint.Print(p.out, wrong)
				*q.to = ""
			}
		}
	}
	return nil
}

// answer reads one answer; "" if there was none.
func (p *program) answer(answers *bufio.Reader, q question) (string, error) {
	prompt := q.text
	if q.fallback != "" {
		prompt += " [" + q.fallback + "]"
	}
	if _, err := fmt.Fprint(p.out, prompt+": "); err != nil {
		return "", err
	}
	line, err := answers.ReadString('\n')
	switch answer := strings.TrimSpace(line); {
	case answer != "":
		return answer, nil
	case errors.Is(err, io.EOF):
		return "", errors.New("an answer is missing, nothing was written")
	case err != nil:
		return "", err
	}
	return q.fallback, nil
}

// judge returns what is wrong with the value of a flag, as the daemon would see it: the other
// settings stand aside.
func (s *setting) judge(flag string) error {
	try := setting{
		path: s.path, thing: "thing", endpoint: "endpoint.example.com", cert: "certificate", key: "key",
	}
	var key string // of the configuration
	switch flag {
	case "thing":
		try.thing = s.thing
	case "endpoint":
		try.endpoint = s.endpoint
	case "cert":
		try.cert, key = absolute(s.cert), "mqtt.cert_file"
	case "key":
		// The certificate, if it is known, must fit.
		try.cert, try.key = absolute(cmp.Or(s.cert, "certificate")), absolute(s.key)
		key = "mqtt.key_file"
	}
	cfg, err := config.Parse(bytes.NewReader([]byte(try.text())), s.path)
	if first, ok := errors.AsType[*config.Error](err); ok {
		return hint.Wrap(errors.New(first.Message), hint.Of(first))
	}
	if err != nil {
		return err
	}
	if flag == "endpoint" { // what the daemon takes with a warning is probably a typing error here
		for _, warning := range cfg.Warnings() {
			if strings.HasPrefix(warning.Error(), "mqtt.endpoint") {
				return warning
			}
		}
	}
	if key == "" {
		return nil
	}
	all := []error{cfg.CheckFiles()}
	if joined, ok := all[0].(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, err := range all {
		if f, ok := errors.AsType[*config.FileError](err); ok && f.Keys[len(f.Keys)-1] == key {
			return f
		}
	}
	return nil
}

// absolute keeps what is no file, such as tpm:HANDLE.
func absolute(file string) string {
	if abs, err := filepath.Abs(file); err == nil && !isReference(file) {
		return abs
	}
	return file
}
