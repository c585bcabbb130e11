package bench

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
)

func TestYCSBMain(t *testing.T) {
	cluster, o := rig(t, 2)
	var out bytes.Buffer
	y := YCSBOptions{Workload: "a", Keys: 200, ValueBytes: 10, Duration: 100 * time.Millisecond, Outstanding: 4, Load: true, Output: Output{Out: &out}}
	if err := YCSBMain(context.Background(), o, y); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); cluster.Keys() != 200 || !strings.Contains(s, "LOAD:200:10:2:1\n") || !strings.Contains(s, "YCSB:A:200:10:1:0.1:0.99:4\n") {
		t.Errorf("%d keys; %s", cluster.Keys(), s)
	}
	// More keys than were loaded: it says so before it measures anything.
	out.Reset()
	y.Load, y.Keys = false, 201
	err := YCSBMain(context.Background(), o, y)
	if !errors.Is(err, ErrNotLoaded) || !strings.Contains(err.Error(), `no key "201"`) || !strings.Contains(err.Error(), "--load") || out.Len() > 0 {
		t.Errorf("%v; %s", err, out.String())
	}
	y.Keys = 200
	if err := YCSBMain(context.Background(), o, y); err != nil || !strings.Contains(out.String(), "YCSB:A:200:") {
		t.Errorf("%v; %s", err, out.String())
	}
	away := o
	away.Client = client.Options{Routing: []string{"tcp://127.0.95.9:8200"}, OperationTimeout: 50 * time.Millisecond}
	if err := YCSBMain(context.Background(), away, y); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a cluster: %v", err)
	}
	y.Workload = "z"
	if err := YCSBMain(context.Background(), o, y); err == nil || !strings.Contains(err.Error(), "ABCDEF") {
		t.Errorf("%v", err)
	}
}

func TestReplayMain(t *testing.T) {
	_, o := rig(t, 1)
	dir := t.TempDir()
	file, first, second := filepath.Join(dir, "commands"), filepath.Join(dir, "a.json"), filepath.Join(dir, "b.json")
	if err := os.WriteFile(file, []byte("LOAD:100:10:1:1\nRUN:1:100:10:1:0.1:0:4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := ReplayOptions{File: file, Save: first, Output: Output{Out: &out, Err: &out, Label: "one"}}
	if err := ReplayMain(context.Background(), o, nil, p); err != nil {
		t.Fatal(err)
	}
	p.Save, p.Against, p.Label = second, first, "two"
	if err := ReplayMain(context.Background(), o, group(t, o), p); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, "first: one\nsecond: two\n") || !strings.Contains(s, "RUN:1:100:10:1:0.1:0:4 ") {
		t.Error(s)
	}
	out.Reset()
	if err := CompareMain(first, second, Output{Out: &out, JSON: true}); err != nil || !strings.Contains(out.String(), `"throughput_ratio"`) {
		t.Errorf("%v: %s", err, out.String())
	}
	// Failed operations make the whole fail.
	if err := os.WriteFile(file, []byte("ADD:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ReplayMain(context.Background(), o, nil, p); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(file, []byte("# LOAD:100:10:1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ReplayMain(context.Background(), o, nil, p); err == nil || !strings.Contains(err.Error(), "no command") {
		t.Errorf("%v", err)
	}
	p.File = filepath.Join(dir, "nothing")
	if err := ReplayMain(context.Background(), o, nil, p); err == nil {
		t.Error("a file that is not there")
	}
}

func TestMainSaysWhereItListens(t *testing.T) {
	_, o := rig(t, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out bytes.Buffer
	if err := Main(ctx, o, &out); err != nil || !strings.Contains(out.String(), "commands at tcp://127.0.0.1:") {
		t.Errorf("%v: %s", err, out.String())
	}
}
