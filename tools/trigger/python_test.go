package trigger

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/messages"
)

const python = "/usr/bin/python3"

// pythonTrigger runs tools/trigger.py and returns its exit status and output.
func pythonTrigger(t *testing.T, stdin string, args ...string) (int, string) {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import zmq").CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("python3-zmq is missing: apt-get install -y python3-zmq\n%s", out)
		}
		t.Skip("python3-zmq is missing: apt-get install -y python3-zmq")
	}
	cmd := exec.Command(python, append([]string{"../trigger.py"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// listener collects what arrives at a socket of the port plan.
func listener(t *testing.T, ip string, s messages.Socket, thread int) func() string {
	t.Helper()
	a, err := messages.PlanDinomo.Address(ip, s, thread)
	if err != nil {
		t.Fatal(err)
	}
	pull, err := runtime.ListenPull(a.String(), runtime.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pull.Close() })
	return func() string {
		var got []string
		for b := range pull.Batches() {
			for _, frame := range b.Frames {
				got = append(got, string(frame))
			}
			b.Release()
			if got[len(got)-1] == "CACHE:9" || strings.HasPrefix(got[len(got)-1], "remove") {
				break
			}
		}
		return strings.Join(got, " ")
	}
}

func TestPythonTrigger(t *testing.T) {
	first := listener(t, "127.0.94.30", messages.BenchCommand, 0)
	second := listener(t, "127.0.94.30", messages.BenchCommand, 1)
	other := listener(t, "127.0.94.31", messages.BenchCommand, 0)
	otherSecond := listener(t, "127.0.94.31", messages.BenchCommand, 1)
	churn := listener(t, "127.0.94.32", messages.ManageChurn, 0)
	args := []string{"--bench", "127.0.94.30,127.0.94.31", "--threads", "2", "--manage", "127.0.94.32"}
	status, out := pythonTrigger(t, "# story\nload:10:5:2:2\nRUN:0.5:10:5:1:1:0.99:4:0\nFLY:1\nRUN:1.5:10:5:1:1:0.99:4\nADD:2\nFAIL:1\nCACHE:9\nREMOVE:1\nREMOVE:5\n", args...)
	want := "LOAD:10:5:2:2 RUN:0.5:10:5:1:1:0.99:4:0 CACHE:9"
	for _, got := range []string{first(), second(), other(), otherSecond()} {
		if got != want {
			t.Errorf("a thread got %q", got)
		}
	}
	if got := churn(); got != "add:2:benchmark fail:1:memory remove:127.0.94.31:benchmark" {
		t.Errorf("the management node got %q", got)
	}
	if status != 2 || !strings.Contains(out, "unknown command 'FLY'") || !strings.Contains(out, "want RUN:read_ratio") || !strings.Contains(out, "none of the 1") {
		t.Errorf("status %d:\n%s", status, out)
	}
	if status, out := pythonTrigger(t, "", "--bench", "127.0.94.30", "ADD:1"); status != 1 || !strings.Contains(out, "--manage") {
		t.Errorf("status %d:\n%s", status, out)
	}
}
