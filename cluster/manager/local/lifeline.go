package local

import (
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
)

// lifelineVariable tells a process which descriptor its lifeline is.
const lifelineVariable = "DINOMO_LIFELINE"

// Lifeline ties processes to the life of the one that made it, however many others are between them: it is a pipe whose
// writing end that one alone has, and whose reading end it passes on, as do those that it passed it to. A parent death signal
// reaches children only, and would take them along with a parent that is to be replaced.
type Lifeline struct {
	end  *os.File // for reading: it is at its end when the maker has ended
	hold *os.File // nil in who did not make it
}

// NewLifeline makes a lifeline that this process holds until it ends or Cut.
func NewLifeline() (*Lifeline, error) {
	end, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &Lifeline{end, hold}, nil
}

// InheritedLifeline returns the lifeline that this process hangs on, nil for none.
var InheritedLifeline = sync.OnceValue(func() *Lifeline {
	fd, err := strconv.Atoi(os.Getenv(lifelineVariable))
	if err != nil || fd <= 2 {
		return nil
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil || stat.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return nil // whoever set the variable passed nothing
	}
	syscall.CloseOnExec(fd)
	return &Lifeline{end: os.NewFile(uintptr(fd), "lifeline")}
})

// Wait returns when the lifeline was cut. It is for those that hang on it.
func (l *Lifeline) Wait() {
	var b [1]byte
	for {
		if _, err := l.end.Read(b[:]); err != nil {
			return
		}
	}
}

// Cut ends those that hang on the lifeline.
func (l *Lifeline) Cut() {
	l.end.Close()
	if l.hold != nil {
		l.hold.Close()
	}
}

// tie has a command hang on the lifeline. A nil lifeline ties nothing.
func (l *Lifeline) tie(cmd *exec.Cmd) {
	if l == nil {
		return
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, l.end)
	cmd.Env = append(cmd.Env, lifelineVariable+"="+strconv.Itoa(2+len(cmd.ExtraFiles)))
}
