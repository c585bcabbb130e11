package nemesis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolatedMark is set in the environment of a process that Isolate started.
const isolatedMark = "DINOMO_ISOLATED"

// ErrCannotIsolate: this user may not make network namespaces here.
var ErrCannotIsolate = errors.New("cannot make a network namespace: run it as root, or allow unprivileged user namespaces, or leave the cut-* faults out")

// Isolated says whether this process is in a network namespace of its own.
func Isolated() bool { return os.Getenv(isolatedMark) != "" }

// Isolate runs this program once more, with the same standard streams, in a network namespace of its own that holds nothing but
// a loopback: links are cut there, and two runs do not get in each other's way. It returns the exit status when
// that has ended. Within such a process it must not be called.
func Isolate(ctx context.Context, args []string) (status int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 1, fmt.Errorf("find this program's file: %w", err)
	}
	// The parent death signal follows the thread, so it must not end before the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(self, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), isolatedMark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL,
		Setpgid: true} // Ctrl-C comes to it once, from us: the second one would end it before it has tidied up
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("%w (%w)", ErrCannotIsolate, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// raiseLoopback makes the namespace's loopback usable: it is born switched off.
func raiseLoopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("switch the loopback on: %w", err)
	}
	defer unix.Close(s)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("switch the loopback on: %w", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOOPBACK)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("switch the loopback on: %w", err)
	}
	return nil
}
