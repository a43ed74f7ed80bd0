package incusx

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	incus "github.com/lxc/incus/v6/client"
)

// Progress is told how far a long step is: percent of it, 0 to 100, and a word
// for people. It is called from one goroutine at a time, and may be nil.
type Progress func(percent int, detail string)

// progressPause is between two looks at an operation that takes long.
const progressPause = time.Second

// waitProgress is wait for an operation that may take long: every so often it
// tells what Incus says of it.
func waitProgress(server incus.InstanceServer, what string, op incus.Operation, err error, report Progress) error {
	if err != nil || report == nil {
		return wait(what, op, err)
	}
	id := op.Get().ID
	ended := make(chan error, 1)
	go func() { ended <- wait(what, op, nil) }()
	ticker := time.NewTicker(progressPause)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-ticker.C:
		}
		// One that can not be looked at has ended, or the wait will tell.
		if now, _, err := server.GetOperation(id); err == nil {
			if percent, detail, ok := progressOf(now.Metadata); ok {
				report(percent, detail)
			}
		}
	}
}

var percentage = regexp.MustCompile(`(\d{1,3})%`)

// progressOf reads what Incus says of an operation: "rootfs: 40% (3.20MB/s)" as
// download_progress, "Unpacking image: 40%" as another that ends like it.
func progressOf(metadata map[string]any) (percent int, detail string, ok bool) {
	for key, value := range metadata {
		text, isText := value.(string)
		match := percentage.FindStringSubmatch(text)
		if !strings.HasSuffix(key, "_progress") || !isText || match == nil {
			continue
		}
		n, _ := strconv.Atoi(match[1])
		word := "unpacking the image"
		switch {
		case key == "download_progress":
			word = "downloading the image"
		case strings.Contains(key, "pack_progress") && !strings.Contains(key, "unpack"):
			word = "packing the image"
		}
		return min(n, 100), fmt.Sprintf("%s, %d%%", word, min(n, 100)), true
	}
	return 0, "", false
}
