# SPDX-License-Identifier: Apache-2.0
"""Tables of each kind: whole, partitioned, and with global indexes."""

import sqlalchemy as sa
from sqlalchemy import orm

metadata = sa.MetaData()
Base = orm.declarative_base(metadata=metadata)


class Instance(Base):
    """Partitioned by its uuid, with global indexes."""

    __tablename__ = "instances"
    id = sa.Column(sa.Integer, primary_key=True)
    uuid = sa.Column(sa.String(36), unique=True, nullable=False)
    host = sa.Column(sa.String(255))
    project_id = sa.Column(sa.String(255))
    deleted = sa.Column(sa.Integer, default=0)
    created_at = sa.Column(sa.DateTime)
    extra = orm.relationship(
        "Extra", uselist=False, viewonly=True,
        primaryjoin="foreign(Extra.instance_uuid) == Instance.uuid")
    faults = orm.relationship(
        "Fault", viewonly=True, order_by="Fault.id",
        primaryjoin="foreign(Fault.instance_uuid) == Instance.uuid")


class Extra(Base):
    """Partitioned by the instance's uuid; its id is not indexed."""

    __tablename__ = "instance_extra"
    id = sa.Column(sa.Integer, primary_key=True)
    instance_uuid = sa.Column(sa.String(36), unique=True)
    deleted = sa.Column(sa.Integer, default=0)
    flavor = sa.Column(sa.Text)


class Fault(Base):
    """Partitioned by the instance's uuid."""

    __tablename__ = "instance_faults"
    id = sa.Column(sa.Integer, primary_key=True)
    instance_uuid = sa.Column(sa.String(36))
    code = sa.Column(sa.Integer)


class Service(Base):
    """One partition, with indexes and a unique key."""

    __tablename__ = "services"
    __table_args__ = (
        sa.UniqueConstraint("host", "binary", "deleted",
                            name="uniq_services0host0binary0deleted"),
        sa.Index("services_uuid_idx", "uuid", unique=True),
    )
    id = sa.Column(sa.Integer, primary_key=True)
    uuid = sa.Column(sa.String(36))
    host = sa.Column(sa.String(255))
    binary = sa.Column(sa.String(255))
    deleted = sa.Column(sa.Integer, default=0)
    report_count = sa.Column(sa.Integer, default=0)


class Note(Base):
    """One partition, with a composite key."""

    __tablename__ = "notes"
    service_id = sa.Column(sa.Integer, sa.ForeignKey("services.id"),
                           primary_key=True)
    name = sa.Column(sa.String(20), primary_key=True)
    value = sa.Column(sa.String(20))
