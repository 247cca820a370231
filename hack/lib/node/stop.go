package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Remove stops the node of this repository and removes all that is left of it. It is no error if there is none.
func Remove() error {
	n, err := Open()
	if err != nil {
		n = at() // perhaps it came to an end before it had a process
	}
	return n.Stop()
}

// Stop kills the node's PID 1: its processes, mounts and network end with it. Then it removes its cgroups and its folder.
func (n *Node) Stop() error {
	if n.pid != 0 {
		if err := n.kill(); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(n.file("cgroups"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading the node's cgroups: %w", err)
	}
	if err := removeCgroups(strings.Fields(string(text))); err != nil {
		return err
	}
	if err := os.RemoveAll(n.run); err != nil {
		return fmt.Errorf("removing the node's folder: %w", err)
	}
	return nil
}

func (n *Node) kill() error {
	process := filepath.Join("/proc", strconv.Itoa(n.pid))
	command, err := os.ReadFile(filepath.Join(process, "cmdline"))
	if err != nil || !strings.Contains(string(command), script) {
		return nil // it has ended; another process may have its number
	}
	if err := syscall.Kill(n.pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing the node: %w", err)
	}
	if n.ended != nil {
		<-n.ended
		return nil
	}
	for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		if text, err := os.ReadFile(filepath.Join(process, "cmdline")); err != nil || len(text) == 0 {
			return nil
		}
	}
	return errors.New("the node did not end within " + stopTimeout.String())
}
