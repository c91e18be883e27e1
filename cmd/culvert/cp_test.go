package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/culvert-iot/culvert/operator/transfer"
)

func TestTheBarOfCp(t *testing.T) {
	half := transfer.Progress{TotalFiles: 1, Bytes: 12_200_000, TotalBytes: 27_100_000, Current: "/x/firmware.bin"}
	many := transfer.Progress{TotalFiles: 300, Files: 11, Bytes: 1_500, TotalBytes: 4_000_000_000, Current: strings.Repeat("long", 20) + ".txt"}
	verifying := transfer.Progress{TotalFiles: 1, Bytes: 5, TotalBytes: 5, Current: "a", Verifying: true}
	wide := transfer.Progress{TotalFiles: 1, Bytes: 1, TotalBytes: 3, Current: "日本語のとても長い名前のファイルです.txt"}
	hostile := transfer.Progress{TotalFiles: 1, Bytes: 1, TotalBytes: 3, Current: "a\x1b[31m\nb"}
	for _, tt := range []struct {
		name  string
		p     transfer.Progress
		rate  float64
		width int
		want  string
	}{
		{"one file", half, 780_300, 79, "culvert: firmware.bin [#####-------]  45%  12.2 MB of 27.1 MB  780.3 kB/s  0:19"},
		{"without a rate", half, 0, 79, "culvert: firmware.bin [#####-------]  45%  12.2 MB of 27.1 MB  0 B/s"},
		{"on a narrow terminal", half, 780_300, 62, "culvert: firm...bin  45%  12.2 MB of 27.1 MB  780.3 kB/s  0:19"},
		{"many", many, 400_000, 79, "culvert: 12/300 longlong..long.txt   0%  1.5 kB of 4.0 GB  400.0 kB/s  2:46:40"},
		{"verifying", verifying, 0, 79, "culvert: a [############] 100%  5 B of 5 B  verifying"},
		{"wide characters", wide, 0, 79, "culvert: 日本語のとても..ァイルです.txt [###---------]  33%  1 B of 3 B  0 B/s"},
		{"a name that steers terminals", hostile, 0, 79, "culvert: a [31m b [###---------]  33%  1 B of 3 B  0 B/s"},
		{"before it is known", transfer.Progress{}, 0, 79, "culvert: listing the files to copy ..."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := barText(tt.p, tt.rate, tt.width)
			if got != tt.want || columns(got) > tt.width {
				t.Errorf("%d columns of %d:\n%s\nwant\n%s", columns(got), tt.width, got, tt.want)
			}
		})
	}
}

func TestTheRateOfCp(t *testing.T) {
	m, at := &rateMeter{}, time.Unix(0, 0)
	if m.add(at, 0); m.perSecond() != 0 {
		t.Error("a rate without time")
	}
	// 100 bytes a second, then 1000.
	for i := 1; i <= 60; i++ {
		at = at.Add(time.Second)
		n := int64(i) * 100
		if i > 30 {
			n += int64(i-30) * 900
		}
		m.add(at, n)
		if i == 30 && m.perSecond() != 100 || i == 60 && m.perSecond() != 1000 {
			t.Errorf("after %d s: %v", i, m.perSecond())
		}
	}
}

func TestWhatSSHSaysBesideTheBar(t *testing.T) {
	var out bytes.Buffer
	show := newProgress(&out, false)
	defer show.end()
	done := make(chan struct{})
	a := &aside{show: show, hold: true, done: done}
	for _, p := range []string{"one\ntw", "o\n", "three"} {
		if n, err := a.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	if out.Len() > 0 {
		t.Errorf("not held: %q", out.String())
	}
	a.release()
	close(done)
	_, _ = a.Write([]byte(" lines\n"))
	if out.String() != "one\ntwo\n" {
		t.Errorf("%q", out.String())
	}
}
