// Package ownership is the ownership map as it travels and as it is used: the conversion between
// messages.OwnershipMap and hashring.Map, and the addresses of a key's owners.
//
// Every role needs both, and neither hashring (pure, no wire) nor messages (wire, no ring) may know the other.
//
// RING-1 and RING-2 are hashring's; what comes off a socket or out of the pool is checked by its
// constructor, so a hostile map is refused here and never installed.
package ownership
