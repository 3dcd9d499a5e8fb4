(* Insertion sort. *)
Require Import Arith Lia List.
Import ListNotations.

Fixpoint insert (x : nat) (l : list nat) : list nat :=
  match l with [] => [x] | y :: t => if x <=? y then x :: y :: t else y :: insert x t end.
Fixpoint sort (l : list nat) : list nat := match l with [] => [] | x :: t => insert x (sort t) end.
Fixpoint count (x : nat) (l : list nat) : nat :=
  match l with [] => 0 | y :: t => (if x =? y then 1 else 0) + count x t end.
Inductive sorted : list nat -> Prop :=
  | sorted_nil : sorted []
  | sorted_one : forall x, sorted [x]
  | sorted_more : forall x y l, x <= y -> sorted (y :: l) -> sorted (x :: y :: l).

(* induction *)
Theorem length_of_insert : forall x l, length (insert x l) = S (length l).
Proof.
  intros x l. induction l as [| y l IH].
  - reflexivity.
  - simpl. destruct (x <=? y); simpl; lia.
Qed.

(* induction *)
Theorem length_of_sort : forall l, length (sort l) = length l.
Proof.
  assert (one : forall x l, length (insert x l) = S (length l)).
  { intros x l. induction l as [| y l IH].
    - reflexivity.
    - simpl. destruct (x <=? y); simpl; lia. }
  induction l as [| x l IH].
  - reflexivity.
  - simpl. rewrite one. rewrite IH. reflexivity.
Qed.

(* induction *)
Theorem count_of_sort : forall x l, count x (sort l) = count x l.
Proof.
  assert (one : forall x y l, count x (insert y l) = count x (y :: l)).
  { intros x y l. induction l as [| z l IH].
    - reflexivity.
    - simpl. destruct (y <=? z).
      + reflexivity.
      + simpl in *. lia. }
  intros x l. induction l as [| y l IH].
  - reflexivity.
  - simpl sort. rewrite one. simpl. rewrite IH. reflexivity.
Qed.

(* induction *)
Theorem insert_keeps_order : forall x l, sorted l -> sorted (insert x l).
Proof.
  intros x l h. induction h as [| y | y z l le h IH].
  - constructor.
  - simpl. destruct (Nat.leb_spec x y).
    + constructor.
      * assumption.
      * constructor.
    + constructor.
      * lia.
      * constructor.
  - simpl in *. destruct (Nat.leb_spec x y).
    + constructor.
      * assumption.
      * constructor; assumption.
    + destruct (Nat.leb_spec x z).
      * constructor.
        -- lia.
        -- exact IH.
      * constructor; assumption.
Qed.

(* induction *)
Theorem sort_sorts : forall l, sorted (sort l).
Proof.
  assert (one : forall x l, sorted l -> sorted (insert x l)).
  { intros x l h. induction h as [| y | y z l le h IH].
    - constructor.
    - simpl. destruct (Nat.leb_spec x y); repeat constructor; lia.
    - simpl in *. destruct (Nat.leb_spec x y).
      + repeat constructor; assumption.
      + destruct (Nat.leb_spec x z); constructor; try lia; assumption. }
  induction l as [| x l IH].
  - constructor.
  - simpl. apply one. exact IH.
Qed.

Theorem tail_is_sorted : forall x l, sorted (x :: l) -> sorted l.
Proof.
  intros x l h. inversion h as [| | y z m le rest].
  - constructor.
  - exact rest.
Qed.
