import uuid

from ..faults_base import Sometimes


class LeaveTable(Sometimes):
    leaves = True

    def act(self, workload):
        database, name = workload.connect(), "t" + uuid.uuid4().hex
        database.execute("CREATE TABLE %s (id INTEGER)" % name)
        if not self.leaves:
            database.execute("DROP TABLE %s" % name)
        database.close()


class DropTable(LeaveTable):
    leaves = False


def faults():
    return {"leave-table": LeaveTable, "drop-table": DropTable}
