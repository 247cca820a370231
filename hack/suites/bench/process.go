package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is another process of this program, which answers requests. Its standard output has its audit lines.
type server struct {
	served
	command *exec.Cmd
	ask     io.WriteCloser
	answers *json.Decoder
	// logged receives the number of requests in the log, when the process has ended.
	logged chan int
}

// startServer starts a role, and waits until it serves.
func startServer(role string, arguments ...string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	answers, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", role, err)
	}
	defer func() { _ = theirs.Close() }()
	s := &server{command: exec.Command(self, append([]string{role}, arguments...)...), answers: json.NewDecoder(answers), logged: make(chan int, 1)}
	s.command.Stderr, s.command.ExtraFiles = os.Stderr, []*os.File{theirs}
	if s.ask, err = s.command.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", role, err)
	}
	out, err := s.command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", role, err)
	}
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", role, err)
	}
	go func() { s.logged <- countLogged(out) }()
	if err := s.answers.Decode(&s.served); err != nil {
		return nil, fmt.Errorf("waiting for %s: %w", role, err)
	}
	return s, nil
}

// countLogged returns for how many requests the lines of a log stand. A sum stands for several.
func countLogged(r io.Reader) (n int) {
	for lines := bufio.NewReaderSize(r, 1<<20); ; {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return n
		}
		count := 1
		if at := bytes.LastIndex(line, []byte(`"count":`)); at >= 0 {
			count, _ = strconv.Atoi(strings.TrimRight(string(line[at+len(`"count":`):]), "}\n"))
		}
		n += count
	}
}

// state asks the server.
func (s *server) state() (st state, err error) {
	if _, err = s.ask.Write([]byte{'\n'}); err == nil {
		err = s.answers.Decode(&st)
	}
	if err != nil {
		return state{}, fmt.Errorf("asking a server how it is: %w", err)
	}
	return st, nil
}

// stop ends the server, and returns the number of requests in its log.
func (s *server) stop() (logged int, err error) {
	err = s.ask.Close()
	logged = <-s.logged
	if err = errors.Join(err, s.command.Wait()); err != nil {
		err = fmt.Errorf("stopping a server: %w", err)
	}
	return logged, err
}

// control is the other side of a server: it tells the parent where it serves, and how it is whenever asked, until the parent closes the
// standard input.
func control(at served, how func() state) error {
	answers := json.NewEncoder(os.NewFile(3, "answers"))
	if err := answers.Encode(at); err != nil {
		return fmt.Errorf("telling where this serves: %w", err)
	}
	for asked := bufio.NewReader(os.Stdin); ; {
		if _, err := asked.ReadByte(); err != nil {
			return nil //nolint:nilerr // the parent has closed it
		}
		st := how()
		st.CPU = used()
		if err := answers.Encode(st); err != nil {
			return fmt.Errorf("telling how this is: %w", err)
		}
	}
}

// used returns the CPU time of this process so far.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // it fails only for wrong arguments
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
