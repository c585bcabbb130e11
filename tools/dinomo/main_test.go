package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/dinomo-kv/dinomo/cluster/clustertest"
)

// execute runs a command line in this process.
func execute(args ...string) (out string, err error) {
	c := root()
	var b bytes.Buffer
	c.SetOut(&b)
	c.SetErr(&b)
	c.SetArgs(args)
	err = c.Execute()
	return b.String(), err
}

// walk calls f for every command that does something.
func walk(c *cobra.Command, f func(*cobra.Command)) {
	if c.Runnable() && c.Name() != "help" && c.Name() != "completion" && (c.Parent() == nil || c.Parent().Name() != "completion") {
		f(c)
	}
	for _, child := range c.Commands() {
		walk(child, f)
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	count := 0
	walk(root(), func(c *cobra.Command) {
		count++
		if c.Short == "" {
			t.Errorf("%s does not say what it is", c.CommandPath())
		}
		if len(c.Commands()) == 0 && c.Example == "" && c.Name() != "version" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  ") || !strings.Contains(line, "dinomo") {
				t.Errorf("%s: example %q", c.CommandPath(), line)
			}
		}
	})
	if count < 15 {
		t.Errorf("only %d commands", count)
	}
}

// TestExamplesParse checks the flags of every example against its command.
func TestExamplesParse(t *testing.T) {
	walk(root(), func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			_, line, ok := strings.Cut(" "+line, " dinomo ")
			if !ok {
				continue
			}
			line, _, _ = strings.Cut(line, "<")
			fields := strings.Fields(line)
			found, rest, err := root().Find(fields)
			if err != nil || found.CommandPath() != c.CommandPath() {
				t.Errorf("%s: example %q is of another command (%v)", c.CommandPath(), line, err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
				continue
			}
			if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
		}
	})
}

func TestRolesPrintTheirConfiguration(t *testing.T) {
	for _, role := range []string{"up", "run", "dpm", "kn", "route", "monitor", "manage", "bench", "trigger", "cli", "inspect"} {
		out, err := execute(role, "--print-config", "--set", "threads.routing=7")
		if err != nil || !strings.Contains(out, "threads.routing") || !strings.Contains(out, "--set") {
			t.Errorf("%s: %v\n%.300s", role, err, out)
		}
	}
	out, err := execute("kn", "--print-config", "--print-config-format", "json")
	var decoded struct {
		Keys []any `json:"keys"`
	}
	if err = errors.Join(err, json.Unmarshal([]byte(out), &decoded)); err != nil || len(decoded.Keys) < 50 {
		t.Errorf("JSON: %v, %d keys", err, len(decoded.Keys))
	}
}

func TestMistakesAreExplained(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"kn", "--set", "thread.memory=2"}, "threads.memory", 1}, // the nearest key
		{[]string{"kn", "--config", "/no/such/file.yml"}, "/no/such/file.yml", 1},
		{[]string{"bench", "ycsb"}, "--workload a", 2},
		{[]string{"bench", "ycsb", "a", "--workload", "b"}, "one workload", 2},
		{[]string{"kn", "--nonsense"}, "dinomo kn --help", 2},
		{[]string{"up", "--network", "somewhere"}, "127.0.10.0/24", 2},
		{[]string{"run", "--network", "somewhere"}, "127.0.10.0/24", 2},
		{[]string{"run", "--keys", "0"}, "--keys 0", 2},
		{[]string{"run", "--outstanding", "0"}, "1 or more", 2},
		{[]string{"run", "--zipf", "NaN"}, "--zipf", 2},
		{[]string{"run", "--keys", "10", "--value", "9999999"}, "dinomo.limits.value", 2},
		{[]string{"run", "--keys", "999999999"}, "128", 2},
		{[]string{"run", "--report", "/no/such/place/report.json"}, "--report", 2},
		{[]string{"kn", "--print-config", "--print-config-format", "xml"}, "text or json", 2},
		{[]string{"experiment", "profile", "--systems", "dinomo,best"}, "--systems best", 2},
		{[]string{"replay", "--trace", "zipf:0.99", "--cache-bytes", "much"}, "--cache-bytes", 2},
	} {
		_, err := execute(c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v does not say %q", c.args, err, c.want)
			continue
		}
		if code := exitStatus(err); code != c.code {
			t.Errorf("%q: exit status %d, want %d", c.args, code, c.code)
		}
	}
	if exitStatus(nil) != 0 || exitStatus(exit(7)) != 7 || exitStatus(fmt.Errorf("wrapped: %w", exit(2))) != 2 {
		t.Error("exit statuses are not passed on")
	}
}

func TestMain(m *testing.M) { clustertest.Main(m) }

func TestLaunchScripts(t *testing.T) {
	program := clustertest.Program(t)
	all := []string{
		"PATH=" + os.Getenv("PATH"), "DINOMO=" + program, "PRIVATE_IP=10.1.2.3", "SEED_IP=10.1.2.4", "MGMT_IP=NULL",
		"MON_IPS=10.1.2.5 10.1.2.6", "ROUTING_IPS=10.1.2.4", "BENCH_IPS=10.1.2.7", "MGMT_IPS=10.1.2.8", "DPM_IPS=10.1.2.9",
	}
	config := filepath.Join(t.TempDir(), "extra.yml")
	if err := os.WriteFile(config, []byte("threads:\n  memory: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for role, wants := range map[string][]string{
		"dpm": {"dpm address 10.1.2.9"}, "kn": {"server.private_ip 10.1.2.3 environment PRIVATE_IP", "threads.memory 5 " + config + ":2", "server.monitoring 10.1.2.5,10.1.2.6"},
		"route": {"routing.ip 10.1.2.3", "routing.monitoring 10.1.2.5"}, "monitor": {"monitoring.ip 10.1.2.3"},
		"manage": {"server.seed_ip 10.1.2.4", "trigger.benchmark 10.1.2.7"}, "bench": {"user.ip 10.1.2.3", "user.routing 10.1.2.4"},
	} {
		cmd := exec.Command("../start-"+role+".sh", "--print-config", "--set", "dinomo.lww=timestamp")
		cmd.Env = append(all, "DINOMO_CONFIG="+config)
		out, err := cmd.CombinedOutput()
		text := strings.Join(strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(string(out))), " ")
		for _, want := range append(wants, "dinomo.lww timestamp --set") {
			if err != nil || !strings.Contains(text, want) {
				t.Errorf("start-%s.sh: %v, no %q in\n%s", role, err, want, out)
			}
		}
		cmd = exec.Command("../start-" + role + ".sh")
		cmd.Env = all[:2]
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "set ") || strings.Count(string(out), "\n") != 1 {
			t.Errorf("start-%s.sh without an environment: %v, %s", role, err, out)
		}
	}
	// The original names the pool in its file.
	cmd := exec.Command("../start-route.sh", "--print-config")
	cmd.Env = append(all[:3:3], "MON_IPS=10.1.2.5", "DINOMO_CONFIG=../../conf/testdata/dinomo-base.yml")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(strings.Join(strings.Fields(string(out)), " "), "dpm address 10.1.0.20") {
		t.Errorf("the pool of a file: %v, %s", err, out)
	}
	if out, err := exec.Command("../start.sh", "toaster").CombinedOutput(); err == nil || !strings.Contains(string(out), "toaster") {
		t.Errorf("a role that is none: %v, %s", err, out)
	}
}
