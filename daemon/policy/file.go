package policy

// File is policy.toml as it is written; only Parse makes a Policy of it.
type File struct {
	Roles      map[string]RoleFile `toml:"roles"`
	Identities map[string]string   `toml:"identities"`
}

// RoleFile is one [roles.NAME] table.
type RoleFile struct {
	// Allow and Deny hold rules: an action ("container.create"), a group
	// ("container.*"), everything ("*") or an RPC
	// ("ContainerService/CreateContainer").
	Allow []string `toml:"allow"`
	Deny  []string `toml:"deny"`
	// Containers limits what Allow reaches to containers whose user name matches
	// one of the patterns; "*" stands for any letters, "{cn}" for the caller's
	// Common Name. Absent means every container, an empty list none.
	Containers *[]string `toml:"containers"`
}

// Method is an RPC that a policy may name.
type Method struct {
	// Name is "Service/Method" without the package, for example
	// "ContainerService/CreateContainer".
	Name string
	// Action is what the RPC needs, for example "container.create".
	Action string
	// AnyRole is set where a role suffices: the method is allowed to every caller
	// that has one, unless a rule of that role denies it.
	AnyRole bool
}

// Actions are all the RPCs there are, in any order; a method may repeat.
type Actions []Method
