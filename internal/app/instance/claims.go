package instance

// Where the Berths of one host share out parts of the loopback range: each has
// a file in them for as long as its data directory exists.
const (
	// PublicClaims are pools of public addresses.
	PublicClaims = "/run/berth/public"
	// ResolverClaims are addresses at which the host asks for public names.
	ResolverClaims = "/run/berth/resolvers"
)
