package layout_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// maxCommitted is the size in bytes of the largest file that is committed. What is built stays out.
const maxCommitted = 512 << 10

func TestCommittedFilesAreSmall(t *testing.T) {
	listed, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Split(strings.TrimRight(string(listed), "\x00"), "\x00")
	if len(names) < 500 {
		t.Fatalf("found only %d files", len(names))
	}
	for _, name := range names {
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.Size() > maxCommitted {
			t.Errorf("%s has %d bytes, more than %d", name, info.Size(), maxCommitted)
		}
	}
}
