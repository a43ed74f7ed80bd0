package incusx_test

import (
	"testing"

	"github.com/footprintai/containarium/incusx"
)

// TestProgressOf: what Incus 6.0 says of an operation, in its words.
func TestProgressOf(t *testing.T) {
	for name, test := range map[string]struct {
		metadata map[string]any
		percent  int
		detail   string
	}{
		"download": {map[string]any{"download_progress": "rootfs: 40% (3.20MB/s)"}, 40, "downloading the image, 40%"},
		"unpack":   {map[string]any{"create_instance_from_image_unpack_progress": "Unpacking image: 7% (1.00GB/s)", "progress": map[string]any{"percent": "7"}}, 7, "unpacking the image, 7%"},
		"pack":     {map[string]any{"create_image_from_container_pack_progress": "Image pack: 99% (2MB/s)"}, 99, "packing the image, 99%"},
		"too much": {map[string]any{"download_progress": "rootfs: 400%"}, 100, "downloading the image, 100%"},
		"no word":  {map[string]any{"download_progress": "rootfs: 40MB"}, 0, ""},
		"nothing":  {nil, 0, ""},
	} {
		percent, detail, ok := incusx.ProgressOf(test.metadata)
		if percent != test.percent || detail != test.detail || ok != (test.detail != "") {
			t.Errorf("%s: %d, %q, %t", name, percent, detail, ok)
		}
	}
}
