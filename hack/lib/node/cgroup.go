package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// makeCgroups makes a cgroup below that of this process in each hierarchy of cgroup v1: the node takes them for the roots.
// node.sh joins them.
func makeCgroups(own, name string) (folders []string, err error) {
	for line := range strings.Lines(own) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || parts[1] == "" { // the unified hierarchy has no name
			continue
		}
		parent := filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(parts[1], "name="), parts[2])
		folder := filepath.Join(parent, name)
		if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return folders, fmt.Errorf("making a cgroup: %w", err)
		}
		folders = append(folders, folder)
		if err := weigh(folder); err != nil {
			return folders, err
		}
		if parts[1] != "cpuset" {
			continue
		}
		// No process can join a cpuset before it has CPUs and memory.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(parent, file))
			if err == nil {
				err = os.WriteFile(filepath.Join(folder, file), value, 0o600)
			}
			if err != nil {
				return folders, fmt.Errorf("filling a cgroup: %w", err)
			}
		}
	}
	return folders, nil
}

// weight is how much CPU time the node gets while others want it too: for each process, about what it would get outside. By itself
// the whole node would get as much as one of them.
const weight = "16384"

// weigh gives the weight to a cgroup of the hierarchy that divides CPU time, and leaves all others alone.
func weigh(folder string) error {
	file := filepath.Join(folder, "cpu.shares")
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.WriteFile(file, []byte(weight), 0o600); err != nil {
		return fmt.Errorf("weighing a cgroup: %w", err)
	}
	return nil
}

// removeCgroups removes cgroups with all below them. The kernel takes a moment after the end of their last process.
func removeCgroups(folders []string) error {
	var err error
	for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		err = nil
		for _, folder := range folders {
			err = errors.Join(err, removeTree(folder))
		}
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("removing the node's cgroups: %w", err)
}

// removeTree removes a cgroup, the innermost ones first. The files in a cgroup go with it.
func removeTree(folder string) error {
	below, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, entry := range below {
		if entry.IsDir() {
			err = errors.Join(err, removeTree(filepath.Join(folder, entry.Name())))
		}
	}
	return errors.Join(err, os.Remove(folder))
}
