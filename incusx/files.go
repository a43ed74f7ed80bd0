package incusx

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/lxc/incus/v6/shared/api"
	"github.com/pkg/sftp"
)

// guestFiles are the files of a guest, by SFTP as its root, confined to it.
type guestFiles struct {
	*sftp.Client
	close func()
}

// openFiles opens an instance's files. The connection ends with ctx: whoever is
// root in the guest could else hold a call for ever. The official client knows no
// context here.
func (c *Client) openFiles(ctx context.Context, instance string) (*guestFiles, error) {
	what := "open the files of " + instance
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.cfg.Socket)
	if err != nil {
		return nil, classify(what, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	end := func() {
		stop()
		_ = conn.Close()
	}
	files, err := c.startSFTP(conn, instance)
	if err != nil {
		end()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, classify(what, err)
	}
	return &guestFiles{files, func() { _ = files.Close(); end() }}, nil
}

// startSFTP makes an HTTP connection to Incus one of SFTP to an instance.
func (c *Client) startSFTP(conn net.Conn, instance string) (*sftp.Client, error) {
	target := "http://incus/1.0/instances/" + url.PathEscape(instance) + "/sftp?project=" + url.QueryEscape(c.cfg.Project)
	request, err := http.NewRequest(http.MethodGet, target, nil) //nolint:noctx // conn ends with the context
	if err != nil {
		return nil, err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", "sftp")
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		defer func() { _ = response.Body.Close() }()
		return nil, refusal(response)
	}
	return sftp.NewClientPipe(reader, conn)
}

// refusal is the error with which Incus answers instead of switching protocols.
func refusal(response *http.Response) error {
	var body api.Response
	if err := json.NewDecoder(io.LimitReader(response.Body, outputMost)).Decode(&body); err != nil || body.Error == "" {
		return fmt.Errorf("the answer of Incus is %s", response.Status)
	}
	return api.StatusErrorf(response.StatusCode, "%s", body.Error)
}
