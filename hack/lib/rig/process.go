package rig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end before it is killed.
const stopTimeout = 20 * time.Second

// Process is a part that runs in a process of its own.
type Process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	err   error
}

func startProcess(log, path string, args ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a log file: %w", err)
	}
	defer func() { _ = out.Close() }()
	p := &Process{cmd: exec.Command(path, args...), log: log, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// A process group of its own: Ctrl-C reaches the rig alone, which then stops its parts in order.
	// The signal is for a rig that is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.name(), err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Stop asks the process to end, and kills it if it does not. It is an error if the process ends badly.
func (p *Process) Stop() error {
	if p == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end within %s of SIGTERM", p.name(), stopTimeout)
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w; its log ends with:\n%s", p.name(), p.err, p.tail())
	}
	return nil
}

// Kill ends the process without a chance to clean up.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s: %w", p.name(), err)
	}
	<-p.ended
	return nil
}

// Memory is how much of its memory is resident, in bytes.
func (p *Process) Memory() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of %s: %w", p.name(), err)
	}
	var size, resident int
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, fmt.Errorf("reading the memory of %s: %w", p.name(), err)
	}
	return resident * os.Getpagesize(), nil
}

// Log returns what the process has written.
func (p *Process) Log() (string, error) {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return "", fmt.Errorf("reading the log of %s: %w", p.name(), err)
	}
	return string(text), nil
}

func (p *Process) name() string { return strings.TrimSuffix(filepath.Base(p.log), ".log") }

func (p *Process) tail() string {
	text, err := p.Log()
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
