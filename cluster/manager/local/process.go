package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// tokenVariable is the environment variable that a process is known by. Numbers of processes are given out again; a token
// is not.
const tokenVariable = "DINOMO_PROCESS"

// errUnseen is how a process ended that is not this one's child: only the parent learns its exit status.
var errUnseen = errors.New("it ended, and its exit status went to nobody")

// process is a process that runs, or that is over.
type process struct {
	pid   int
	over  bool // it was found to have ended before
	ended chan error
	// child is set for one that this process has started; fd, a pidfd, for another's.
	child *os.Process
	fd    int
}

// startedProcess is the process of a command that was started.
func startedProcess(cmd *exec.Cmd) *process {
	p := &process{pid: cmd.Process.Pid, ended: make(chan error, 1), child: cmd.Process, fd: -1}
	go func() { p.ended <- cmd.Wait() }()
	return p
}

// find returns the process with a token, which is over when there is none. hint is the number that it probably has.
func find(token string, hint int) (*process, error) {
	if p, err := take(token, numberOf(token, hint)); p != nil || err != nil {
		return p, err
	}
	over := &process{pid: hint, over: true, ended: make(chan error, 1), fd: -1}
	over.ended <- errUnseen
	return over, nil
}

// numberOf returns the number of the process with a token, 0 when there is none.
func numberOf(token string, hint int) int {
	if carries(hint, token) {
		return hint
	}
	names, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil && carries(pid, token) {
			return pid
		}
	}
	return 0
}

// take returns the process with a number if it carries the token, else nil.
func take(token string, pid int) (*process, error) {
	if pid <= 0 {
		return nil, nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("watch process %d (Linux 5.3 or later can): %w", pid, err)
	}
	// The descriptor means one process whatever its number comes to mean; so it is looked at after it was opened.
	if !carries(pid, token) {
		unix.Close(fd)
		return nil, nil
	}
	p := &process{pid: pid, ended: make(chan error, 1), fd: fd}
	go p.watch()
	return p, nil
}

// watch waits for the end of a process that is not a child.
func (p *process) watch() {
	for {
		polled := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(polled, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			p.ended <- fmt.Errorf("watch process %d: %w", p.pid, err)
		case n > 0:
			p.ended <- errUnseen
		}
		return
	}
}

// signal sends a signal; to a process that is over, none.
func (p *process) signal(s syscall.Signal) {
	switch {
	case p.child != nil:
		_ = p.child.Signal(s)
	case p.fd >= 0:
		_ = unix.PidfdSendSignal(p.fd, s, nil, 0)
	}
}

// release gives the descriptor back. REQUIRES: ended has delivered.
func (p *process) release() {
	if p.fd >= 0 {
		unix.Close(p.fd)
		p.fd = -1
	}
}

// carries says whether a process has the token in its environment. One that has ended, even if nobody has waited for it yet,
// has no environment any more.
func carries(pid int, token string) bool {
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && bytes.Contains(append([]byte{0}, environment...), []byte("\x00"+tokenVariable+"="+token+"\x00"))
}
