package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/footprintai/containarium/client"
	"github.com/footprintai/containarium/pki/live"
	pb "github.com/footprintai/containarium/proto/containarium/v1"
)

// reachTimeout is what a server has to answer in a list of many.
const reachTimeout = 5 * time.Second

func serverLsCommand() *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list the servers, and whether they answer",
		Description: describe(`Lists the servers that have a name, with the certificate for each, and asks all of
them at once: STATE is up, refused where one does not let you in, or down. LATENCY
is the time of one call over a connection that is there. EXPIRES is the last day of
your certificate, SERVER-EXPIRES that of theirs. Without the right to see the system
there is no version. A server that is down fails the command with 3, and hides
nothing. --server and groups choose some.`,
			"containarium server ls",
			"containarium server ls --server eu --timeout 2s",
			"containarium server ls -o json | jq -r '.[] | select(.state != \"up\").name'"),
		Action: serverLs,
	}
}

// serverEntry is a server as server ls prints it.
type serverEntry struct {
	Name     string   `json:"name"`
	Address  string   `json:"address"`
	Default  bool     `json:"default"`
	Groups   []string `json:"groups"`
	Identity string   `json:"identity,omitempty"`
	Cert     string   `json:"cert"`
	Key      string   `json:"key"`
	CA       string   `json:"ca"`
	// CN and Expires are of our certificate for it.
	CN      string     `json:"commonName,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	// State is up, refused or down.
	State         string        `json:"state"`
	Version       string        `json:"version,omitempty"`
	LatencyMS     *float64      `json:"latencyMilliseconds,omitempty"`
	ServerExpires *time.Time    `json:"serverExpires,omitempty"`
	Problem       *fleetFailure `json:"problem,omitempty"`
}

func serverLs(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	t, err := listedServers(c)
	if err != nil {
		return err
	}
	entries := make([]serverEntry, len(t.servers))
	at := map[string]*serverEntry{}
	for i, s := range t.servers {
		e := &entries[i]
		*e = serverEntry{
			Name: s.Name, Address: s.Address, Default: s.Name == t.config.Default, Groups: []string{}, Identity: s.Identity,
			Cert: s.Cert, Key: s.Key, CA: s.CA, State: "up",
		}
		for _, group := range slices.Sorted(maps.Keys(t.config.Groups)) {
			if slices.Contains(t.config.Groups[group], s.Name) {
				e.Groups = append(e.Groups, group)
			}
		}
		if chain, err := live.ReadCertificates(s.Cert); err == nil {
			e.CN, e.Expires = chain[0].Subject.CommonName, &chain[0].NotAfter
		}
		at[s.Name] = e
	}
	_, failed := askAll(c, t, func(ctx context.Context, s *session) (any, error) {
		return nil, s.reach(ctx, at[s.Server().Name]) // each has its own
	})
	for _, err := range errorsOf(failed) {
		if f, ok := errors.AsType[*failure](err); ok {
			e := at[f.server.Name]
			e.Problem, e.State = failureOf(c.Context, f), "down"
			if answeredNo(f.err) {
				e.State = "refused"
			}
		}
	}
	return firstError(showValue(c, entries, func(term *terminal) error { return term.table(serverRows(entries)) }), failed)
}

// listedServers are all entries unless some were asked for. Two entries with one
// address are both listed.
func listedServers(c *cli.Context) (*targets, error) {
	if serverGiven(c) {
		return targetsOf(c, reachTimeout)
	}
	t, err := noTargets(c, reachTimeout)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(t.config.Servers)) {
		t.servers = append(t.servers, t.config.Servers[name])
	}
	return t, nil
}

// reach asks a server who we are, over a new connection and once more over that,
// and enters what it learns.
func (s *session) reach(ctx context.Context, e *serverEntry) error {
	var from peer.Peer
	_, err := s.Auth.WhoAmI(ctx, &pb.WhoAmIRequest{}, grpc.Peer(&from))
	if info, ok := from.AuthInfo.(credentials.TLSInfo); ok {
		e.ServerExpires = lastDay(&info.State)
	}
	if err != nil {
		return err
	}
	begun := time.Now()
	if _, err := s.Auth.WhoAmI(ctx, &pb.WhoAmIRequest{}); err != nil {
		return err
	}
	ms := float64(time.Since(begun).Microseconds()) / 1000
	e.LatencyMS = &ms
	info, err := s.Containers.GetSystemInfo(ctx, &pb.GetSystemInfoRequest{})
	if err == nil {
		e.Version = info.GetVersion()
	} else if !daemonAnswered(err) { // else it is up, and only has not this to say
		return err
	}
	return nil
}

func lastDay(state *tls.ConnectionState) *time.Time {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	return &state.PeerCertificates[0].NotAfter
}

func daemonAnswered(err error) bool {
	call, ok := errors.AsType[*client.Error](err)
	return ok && call.Answered()
}

// answeredNo reports whether a server is up, and does not let us in.
func answeredNo(err error) bool {
	if handshake, ok := errors.AsType[*client.HandshakeError](err); ok {
		return handshake.Refused
	}
	code := status.Code(err)
	return daemonAnswered(err) && (code == codes.PermissionDenied || code == codes.Unauthenticated)
}

func serverRows(entries []serverEntry) [][]string {
	rows := [][]string{{"NAME", "ADDRESS", "DEFAULT", "CERTIFICATE", "EXPIRES", "STATE", "LATENCY", "VERSION", "SERVER-EXPIRES", "GROUPS"}}
	day := func(t *time.Time) string {
		if t == nil {
			return unknown
		}
		return t.UTC().Format("2006-01-02")
	}
	for _, e := range entries {
		latency := unknown
		if e.LatencyMS != nil {
			latency = fmt.Sprintf("%.1fms", *e.LatencyMS)
		}
		rows = append(rows, []string{e.Name, e.Address, yesNo(e.Default), e.CN, day(e.Expires), e.State, latency, e.Version, day(e.ServerExpires), strings.Join(e.Groups, ",")})
	}
	return rows
}
