// Package tcp carries verbs over a socket to a small loop in the DPM that executes them on the
// region: the backend that runs anywhere. A batch is one request and one answer.
//
// The loop takes no lock of the store's, so a READ costs the DPM's processor a copy and nothing
// else, and fencing really takes the memory away: Revocable is true.
//
// Words of 8 aligned bytes do not tear because the region's Read and Write do not tear them; there
// is no encryption and no authentication beyond what the Service's Admit does.
package tcp
