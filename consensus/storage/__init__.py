"""What one Raft replica keeps on disk: the data directory's identity, the log, the snapshots.

data_dir = await open_data_dir(disk, "a@10.0.0.1:9101", token=entropy.token)
storage, recovered = await RaftStorage.open(data_dir)
storage.write(hard_state=HardState(1, "a@10.0.0.1:9101"), entries=batch)
await storage.sync()                       # only now may anything that depends on it leave the node
await storage.close()
data_dir.close()
"""

from .datadir import DataDir, open_data_dir
from .storage import RaftStorage
from .wal import SEGMENT_BYTES

__all__ = ["SEGMENT_BYTES", "DataDir", "RaftStorage", "open_data_dir"]
