package live

import (
	"fmt"
	"syscall"
)

// changed is when the file or its mode changed last; nobody can set it back.
func changed(st *syscall.Stat_t) string { return fmt.Sprintf("%d.%d", st.Ctim.Sec, st.Ctim.Nsec) }
