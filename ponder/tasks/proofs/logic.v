(* Logic. Nothing is given but Coq's own first definitions. *)

Theorem and_swaps : forall P Q : Prop, P /\ Q -> Q /\ P.
Proof.
  intros P Q [p q]. split.
  - exact q.
  - exact p.
Qed.

Theorem or_distributes : forall P Q R : Prop, P \/ (Q /\ R) <-> (P \/ Q) /\ (P \/ R).
Proof.
  intros P Q R. split.
  - intros [p | [q r]].
    + split; left; exact p.
    + split; right; assumption.
  - intros [[p | q] [p' | r]].
    + left. exact p.
    + left. exact p.
    + left. exact p'.
    + right. split; assumption.
Qed.

Theorem contraposition : forall P Q : Prop, (P -> Q) -> ~ Q -> ~ P.
Proof.
  intros P Q pq nq p. apply nq. apply pq. exact p.
Qed.

Theorem middle_not_refuted : forall P : Prop, ~ ~ (P \/ ~ P).
Proof.
  intros P n. apply n. right. intros p. apply n. left. exact p.
Qed.

Theorem triple_negation : forall P : Prop, ~ ~ ~ P -> ~ P.
Proof.
  intros P n p. apply n. intros m. apply m. exact p.
Qed.

Theorem peirce_not_refuted : forall P Q : Prop, ((P -> Q) -> P) -> ~ ~ P.
Proof.
  intros P Q h n. apply n. apply h. intros p. exfalso. apply n. exact p.
Qed.

Theorem not_exists : forall (A : Type) (P : A -> Prop), ~ (exists x, P x) <-> (forall x, ~ P x).
Proof.
  intros A P. split.
  - intros n x p. apply n. exists x. exact p.
  - intros n [x p]. exact (n x p).
Qed.

Theorem exists_or : forall (A : Type) (P Q : A -> Prop), (exists x, P x \/ Q x) -> (exists x, P x) \/ (exists x, Q x).
Proof.
  intros A P Q [x [p | q]].
  - left. exists x. exact p.
  - right. exists x. exact q.
Qed.

Theorem exists_before_forall : forall (A B : Type) (R : A -> B -> Prop), (exists x, forall y, R x y) -> forall y, exists x, R x y.
Proof.
  intros A B R [x r] y. exists x. apply r.
Qed.

Theorem leibniz_is_symmetric : forall (A : Type) (x y : A), (forall P : A -> Prop, P x -> P y) -> y = x.
Proof.
  intros A x y h. apply (h (fun z => z = x)). reflexivity.
Qed.

Theorem cantor : forall (A : Type) (f : A -> A -> Prop), ~ (forall P : A -> Prop, exists x, forall y, f x y <-> P y).
Proof.
  intros A f h. destruct (h (fun y => ~ f y y)) as [x hx]. specialize (hx x).
  destruct hx as [l r].
  assert (n : ~ f x x).
  { intros p. exact (l p p). }
  exact (n (r n)).
Qed.

Theorem barber : forall (A : Type) (shaves : A -> A -> Prop) (b : A), ~ (forall x, shaves b x <-> ~ shaves x x).
Proof.
  intros A shaves b h. destruct (h b) as [l r].
  assert (n : ~ shaves b b).
  { intros p. exact (l p p). }
  exact (n (r n)).
Qed.
