package conf

import "time"

// Config is a whole configuration. Fields are named and documented in base.yml, under the key that
// the field's comment gives where it is not plain from the name. Keys without effect have no field.
type Config struct {
	Threads     Threads
	Bench       Bench // bench_config
	Capacities  Capacities
	KVS         KVS // kvs_config
	Replication Replication
	Policy      Policy
	Net         Net // net_config
	IB          IB  // ib_config
	Monitoring  Monitoring
	Routing     Routing
	User        User
	Server      Server
	Trigger     Trigger
	Dinomo      Dinomo
}

// Threads counts the threads of each kind of node.
type Threads struct {
	KN        int // threads.memory
	Merge     int // threads.storage
	Routing   int
	Benchmark int
}

// Bench is about benchmark nodes.
type Bench struct {
	Nodes int // num-benchmark-nodes
}

// Capacities are what a node may hold.
type Capacities struct {
	CacheBytes ByteSize // memory-cap: a KN's cache, all threads together
	PoolBytes  ByteSize // storage-cap; 0 means DefaultPoolBytes, see Config.PoolBytes
}

// KVS is about the store itself.
type KVS struct {
	SegmentBytes     ByteSize // log-block-size
	PreallocSegments int      // log-block-prealloc-num
	CachePolicy      string   // cache-policy; see Config.CachePolicy for what "auto" comes to
}

// Replication is how many owners keys have.
type Replication struct {
	Global  int // memory: nodes per key before selective replication
	Minimum int // nodes a key keeps when replication is taken back
	Local   int // threads per node before selective replication
}

// Policy are the original's switches and figures for the M-node and the KNs.
type Policy struct {
	Elasticity           bool
	SelectiveReplication bool // selective-rep
	Batching             bool
	BatchingThreshold    int // writes in one commit at most
	Caching              bool
	AdaptiveCaching      bool
	WeightOrValueRatio   float64       // weight-or-vratio
	LatencyThreshold     time.Duration // the SLO; see Config.SLO for what 0 comes to
	UsingAverageLatency  bool          // using_avg_latency: the SLO is on the mean, not on p99
	PerfMonitoring       bool
	GracePeriod          time.Duration
	Timeout              time.Duration // of one attempt of a client's request
	ServerReportPeriod   time.Duration
	KeyReportPeriod      time.Duration // server-key-monitor-period
	DecisionPeriod       time.Duration
}

// Net are queue lengths of sockets.
type Net struct {
	RequestQueue int // request_puller_hwm; 0 means the transport's default
}

// IB is the layout of the memory plane, whatever the fabric.
type IB struct {
	MaxKNs         int      // total_available_memory_nodes
	InitialKNs     int      // num_initial_memory_nodes
	StorageNodeIPs []string // storage_node_ips: where the DPM is
	SocketPort     int      // sock_port: of the exchange that sets up queue pairs; 0 means the port plan's
}

// Monitoring says where an M-node is and whom it commands.
type Monitoring struct {
	ManagementIP string // mgmt_ip; "" means none
	IP           string
}

// Routing says where a routing node is and to whom it reports.
type Routing struct {
	Monitoring []string
	IP         string
}

// User says where a client or benchmark node is and whom it talks to.
type User struct {
	Monitoring  []string
	Routing     []string
	IP          string
	RoutingHost string // routing-elb: stands for all of Routing when set
}

// Server says where a KN is and whom it talks to.
type Server struct {
	Monitoring   []string
	Routing      []string
	SeedIP       string // seed_ip: the routing node that knows the cluster
	PublicIP     string
	PrivateIP    string
	ManagementIP string // mgmt_ip; "" means none
}

// Trigger says to whom dinomo trigger talks.
type Trigger struct {
	Benchmark  []string
	Management []string
}

// Dinomo holds what the original does not have.
type Dinomo struct {
	DataDirectory string // data-dir
	Fabric        string // FabricSHM, FabricTCP, FabricIBVerbs
	Ports         string // PortsDinomo, PortsAnna
	LWW           string // LWWArrival, LWWTimestamp
	VirtualNodes  int    // ring.virtual-nodes
	GCPercent     int    // gc-percent
	Pool          Pool
	DPM           DPM
	Limits        Limits
	Lease         Lease
	Timeouts      Timeouts
	Actors        Actors
	Policy        PolicyLimits
	Manage        Manage
	RDMA          RDMA
}

// Values of enumerated keys.
const (
	FabricSHM     = "shm"
	FabricTCP     = "tcp"
	FabricIBVerbs = "ibverbs"

	PortsDinomo = "dinomo"
	PortsAnna   = "anna"

	LWWArrival   = "arrival"
	LWWTimestamp = "timestamp"

	DurabilityVolatile = "volatile"
	DurabilityProcess  = "process"
	DurabilityFsync    = "fsync"
	DurabilityDax      = "dax"

	RDMASetupAuto   = "auto"
	RDMASetupCM     = "cm"
	RDMASetupSocket = "socket"

	PersistProcessor = "processor"
	PersistRead      = "read"

	CompressionNone = "none"
	CompressionS2   = "s2"
	CompressionZstd = "zstd"

	ProvisionerLocal = "local"
	ProvisionerKube  = "kube"
)

// Pool is about the memory pool. Its size and its segments are in Capacities and KVS.
type Pool struct {
	Path                string // "" means see Config.PoolPath
	Durability          string
	UnmergedSegments    int // unmerged-segments: per KN thread, then puts wait
	Compression         string
	CompressionMinBytes ByteSize // compression-minimum
}

// DPM says where the pool is.
type DPM struct {
	Addresses []string // IPs; none means ib_config.storage_node_ips, see Config.DPMAddress
}

// RDMA is about the fabric ibverbs: which port of which card, and how queue pairs are set up and tuned.
type RDMA struct {
	Setup      string // see Config.RDMASetup
	Device     string // "" means whichever fits
	Port       int    // 0 means whichever fits
	GIDIndex   int    // gid-index; negative means found
	Retries    int
	AckTimeout int // ack-timeout: an exponent
	Polls      int
	Persist    string
}

// Limits bound what clients may ask for.
type Limits struct {
	KeyBytes       ByteSize // key
	ValueBytes     ByteSize // value
	Tuples         int      // tuples in one request
	MessageBytes   ByteSize // message: one frame
	Connections    int      // peers of one socket
	InFlightBytes  ByteSize // in-flight: received and not answered, per connection
	SendQueueBytes ByteSize // send-queue: per peer
	ServiceRate    int      // service-rate: tuples a second of a KN thread, 0 for no limit
}

// Lease is about how long a KN may serve without news from the pool.
type Lease struct {
	Length      time.Duration
	RenewPeriod time.Duration // renew-period
	Margin      time.Duration // what a coordinator waits beyond Length before it fences
}

// Timeouts bound every wait. The one of clients is Policy.Timeout.
type Timeouts struct {
	Verb            time.Duration // one batch of verbs, or one request served by the DPM's processor
	Handshake       time.Duration // a peer's greeting
	Reconfiguration time.Duration // one step of a change of ownership
	Shutdown        time.Duration // a node's orderly end
}

// Actors bounds the control plane's actors.
type Actors struct {
	Mailbox           int
	RestartsPerMinute int // restarts-per-minute
}

// PolicyLimits are the constants of the original's policies.
type PolicyLimits struct {
	MinKNs                  int
	MaxKNs                  int
	AddAboveOccupancy       float64
	RemoveBelowOccupancy    float64
	AddKNs                  int
	HotKeyMinAccesses       int // hot-key-min-accesses: in a decision period
	HotKeyDeviations        float64
	ColdKeyDeviations       float64
	ReplicationStep         int
	MaxReplicatedKeys       int
	ReplicationsPerDecision int
}

// Manage is about the management node.
type Manage struct {
	Provisioner string
	MaxNodes    int
}
